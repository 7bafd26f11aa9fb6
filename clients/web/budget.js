// Where the time goes between a microphone and the ear.

const sum = (parts) => parts.reduce((total, part) => total + part.ms, 0);

/**
 * The latency as parts in milliseconds, and their total.
 *
 * rate      Hz
 * chunk     samples that the page sends at once
 * ready     the server's answer to `start`
 * stats     the server's latest figures, or null
 * trip      the median time to the server and back in ms, or null
 * buffer    the delay of the jitter buffer in ms
 * measured  from the capturing to the playing worklet in samples, or null before sound came back
 * input     what the microphone's driver says of itself in seconds
 * output    the same of the loudspeaker's
 *
 * Of what no part of `measured` explains, the round trip is the network's, and the rest is waiting.
 */
export function budget({ rate, chunk, ready, stats, trip, buffer, measured, input, output }) {
  const ms = (samples) => (1000 * samples) / rate;
  const inside = [
    {
      id: "engine",
      label: "Engine",
      ms: ms((stats ?? ready).latency_samples),
      hint: "hearing ahead, by design",
    },
    { id: "compute", label: "Compute", ms: stats?.compute_ms.p50 ?? 0, hint: "median of a step" },
    { id: "queue", label: "Queue", ms: stats?.queue_ms ?? 0, hint: "waiting for its turn" },
    { id: "buffer", label: "Buffer", ms: buffer, hint: "evens out the arrival" },
  ];
  const [engine, compute, queue, waiting] = inside;
  const filling = { ms: ms(chunk) };
  const rest = measured === null ? (trip ?? 0) : ms(measured) - sum([filling, ...inside]);
  // less than nothing is left when a chunk was full just in time, or steps quicker than the median
  let over = Math.max(0, -rest);
  for (const part of [filling, queue, compute, waiting]) {
    const taken = Math.min(part.ms, over);
    part.ms -= taken;
    over -= taken;
  }
  const network = Math.max(0, Math.min(rest, trip ?? rest));
  queue.ms += Math.max(0, rest - network);
  const parts = [
    { id: "input", label: "Microphone", ms: 1000 * input + filling.ms, hint: "device and chunk" },
    { id: "network", label: "Network", ms: network, hint: "there and back" },
    queue,
    engine,
    compute,
    waiting,
    { id: "output", label: "Output", ms: 1000 * output, hint: "as the device tells" },
  ];
  return { parts, total: sum(parts) };
}
