// A level and a spectrogram, drawn from an analyser.

const LOWEST = 90; // Hz, of what is drawn
const HIGHEST = 10_000;
const DARK = -92; // dB of a bin that is not seen
const BRIGHT = -32;
const SPEED = 90; // CSS pixels a second
const FLOOR = -60; // dBFS, the meter's left end
const FRAME_MS = 30; // from drawing to drawing
const LOOK_MS = 500; // from asking for size and colour to asking again, which costs a layout
const FALL = 24; // dB a second by which the mark of the peak falls

/** For each of `rows`, top first: the first bin, and the one after the last, of its frequencies. */
export function rowBins(rows, rate, bins) {
  const hertz = rate / 2 / bins;
  const edge = (row) => (LOWEST * (HIGHEST / LOWEST) ** (1 - row / rows)) / hertz;
  return Array.from({ length: rows }, (_, row) => {
    const low = Math.min(bins - 1, Math.floor(edge(row + 1)));
    return [low, Math.min(bins, Math.max(low + 1, Math.ceil(edge(row))))];
  });
}

/** The highest sample of a block, in dBFS, no lower than the meter goes. */
export function peakOf(samples) {
  let peak = 0;
  for (const sample of samples) peak = Math.max(peak, Math.abs(sample));
  return Math.max(FLOOR, 20 * Math.log10(peak + 1e-9));
}

export class Scope {
  #canvas;
  #pen;
  #meter;
  #level;
  #analyser = null;
  #rows = [];
  #bins = null;
  #samples = null;
  #held = FLOOR;
  #drawn = 0; // ms
  #owed = 0; // parts of a pixel not yet drawn
  #said = 0;
  #looked = -LOOK_MS;
  #scale = 1;
  #ink = [0, 0, 0];

  constructor(canvas, meter, level) {
    [this.#canvas, this.#meter, this.#level] = [canvas, meter, level];
    this.#pen = canvas.getContext("2d");
  }

  /** Draw from this analyser, or from none. */
  attach(analyser) {
    if (analyser === this.#analyser) return;
    this.#analyser = analyser;
    if (analyser) {
      this.#bins = new Float32Array(analyser.frequencyBinCount);
      this.#samples = new Float32Array(analyser.fftSize);
    }
    [this.#rows, this.#looked] = [[], -LOOK_MS];
    this.#held = FLOOR;
    this.#show(FLOOR, performance.now());
  }

  /** Draw what came since the last time; `now` in ms. */
  draw(now) {
    if (!this.#analyser || now - this.#drawn < FRAME_MS) return;
    if (now - this.#looked >= LOOK_MS) this.#look(now);
    const elapsed = Math.min(100, now - this.#drawn) / 1000;
    this.#drawn = now;
    this.#analyser.getFloatTimeDomainData(this.#samples);
    const peak = peakOf(this.#samples);
    this.#held = Math.max(peak, this.#held - FALL * elapsed);
    this.#show(peak, now);
    this.#spectrum(elapsed);
  }

  #show(peak, now) {
    const part = (level) => (level - FLOOR) / -FLOOR;
    const [bar, mark] = this.#meter.children;
    bar.style.transform = `scaleX(${part(peak)})`;
    mark.style.left = `${100 * part(this.#held)}%`;
    this.#meter.classList.toggle("over", this.#held > -1);
    if (now - this.#said < 150 && this.#analyser) return; // figures that can be read
    this.#said = now;
    const text = this.#analyser
      ? `${this.#held <= FLOOR ? "−∞" : Math.round(this.#held)} dB`.replace("-", "−")
      : "";
    this.#level.textContent = text;
    this.#meter.setAttribute("aria-valuenow", Math.round(this.#held));
    this.#meter.setAttribute("aria-valuetext", text || "off");
  }

  #spectrum(elapsed) {
    const canvas = this.#canvas;
    this.#owed += elapsed * SPEED * this.#scale;
    const width = Math.floor(this.#owed);
    if (width < 1) return;
    this.#owed -= width;
    this.#analyser.getFloatFrequencyData(this.#bins);
    this.#pen.globalCompositeOperation = "copy";
    this.#pen.drawImage(canvas, -width, 0);
    this.#pen.globalCompositeOperation = "source-over";
    this.#pen.putImageData(this.#column(width), canvas.width - width, 0);
  }

  #column(width) {
    const { height } = this.#canvas;
    const image = this.#pen.createImageData(width, height);
    const [red, green, blue] = this.#ink;
    this.#rows.forEach(([low, high], row) => {
      let loudest = -Infinity;
      for (let bin = low; bin < high; bin++) loudest = Math.max(loudest, this.#bins[bin]);
      const seen = Math.max(0, Math.min(1, (loudest - DARK) / (BRIGHT - DARK)));
      for (let x = 0; x < width; x++) {
        image.data.set([red, green, blue, 255 * seen ** 1.6], 4 * (row * width + x));
      }
    });
    return image;
  }

  /** The canvas at the screen's own resolution, and the ink, whatever size and theme are now. */
  #look(now) {
    this.#looked = now;
    const canvas = this.#canvas;
    const ink = getComputedStyle(canvas).color.match(/[\d.]+/g);
    this.#ink = ink.slice(0, 3).map(Number);
    this.#scale = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((n) =>
      Math.max(1, Math.round(n * this.#scale)),
    );
    if (canvas.width !== width || canvas.height !== height || !this.#rows.length) {
      [canvas.width, canvas.height] = [width, height];
      this.#rows = rowBins(height, this.#analyser.context.sampleRate, this.#bins.length);
    }
  }
}
