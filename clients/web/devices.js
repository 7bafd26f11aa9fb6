// Microphones and outputs: which there are, and opening one.

/** Raised when sound cannot be had; `state` is one of status.js. */
export class Trouble extends Error {
  constructor(state, message = state) {
    super(message);
    this.state = state;
  }
}

/** Throw `Trouble` where this browser cannot do what the page needs. */
export function checkBrowser() {
  if (!window.isSecureContext) throw new Trouble("insecure");
  if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) throw new Trouble("old");
}

/**
 * {inputs, outputs}: pairs of id and name, the system's default first, with the id "".
 *
 * Names are empty until the microphone was allowed once; then numbers stand for them.
 */
export async function listDevices() {
  const found = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
  const of = (kind, noun) => [
    ["", "System default"],
    ...found
      .filter(
        (device) =>
          device.kind === kind && !["", "default", "communications"].includes(device.deviceId),
      )
      .map((device, i) => [device.deviceId, device.label || `${noun} ${i + 1}`]),
  ];
  return { inputs: of("audioinput", "Microphone"), outputs: of("audiooutput", "Output") };
}

/**
 * The microphone's stream. Throws `Trouble`, also when the chosen one is not there: another is
 * never taken in its place without being asked for.
 *
 * setup  {input, echoCancellation, noiseSuppression, autoGainControl}
 */
export async function openMicrophone(setup) {
  const { input, echoCancellation, noiseSuppression, autoGainControl } = setup;
  const audio = {
    echoCancellation,
    noiseSuppression,
    autoGainControl,
    channelCount: 1,
    latency: 0,
  };
  if (input) audio.deviceId = { exact: input };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    const states = {
      NotAllowedError: "denied",
      SecurityError: "denied",
      NotFoundError: "missing",
      OverconstrainedError: "missing",
    };
    throw new Trouble(states[error.name] ?? "busy", error.message);
  }
}

/** Whether an output can be chosen here, and how: by the context, by an element, or "". */
export function outputChoice() {
  if ("setSinkId" in AudioContext.prototype) return "context";
  return "setSinkId" in HTMLMediaElement.prototype ? "element" : "";
}

/** Where the sound goes. */
export class Output {
  #context;
  #node;
  #element = null;

  /** node  what is to be heard */
  constructor(context, node) {
    [this.#context, this.#node] = [context, node];
    node.connect(context.destination);
  }

  /** Go to the output with that id; "" is the system's default. Rejects when it is not there. */
  async use(id) {
    if (outputChoice() === "context") {
      if (this.#context.sinkId !== id) await this.#context.setSinkId(id);
    } else if (outputChoice() === "element" && (id || this.#element)) {
      await this.#detour(id);
    }
  }

  /** Browsers without `AudioContext.setSinkId` take a way round, through an element: it is slower. */
  async #detour(id) {
    if (!this.#element) {
      const stream = this.#context.createMediaStreamDestination();
      this.#node.disconnect(this.#context.destination);
      this.#node.connect(stream);
      this.#element = Object.assign(new Audio(), { srcObject: stream.stream });
      await this.#element.play();
    }
    await this.#element.setSinkId(id);
  }

  close() {
    if (this.#element) this.#element.srcObject = null;
  }
}
