// The thread with the socket: sound from the capturing worklet out, sound for the playing one in,
// past the page, so that a busy page delays nothing.

import { Link } from "./link.js";

let playing = null;
const outside = {
  socket: (url, protocol) => new WebSocket(url, protocol),
  now: () => performance.now(),
  later: (call, ms) => setTimeout(call, ms),
  never: (timer) => clearTimeout(timer),
  random: Math.random,
};
const link = new Link(
  outside,
  (event) => postMessage(event),
  (sound) => {
    playing?.postMessage(sound, sound ? [sound.samples.buffer] : []);
  },
);

onmessage = ({ data }) => {
  if (data.type === "ports") {
    playing = data.playing;
    data.capturing.onmessage = ({ data: [frame, samples] }) => link.hear(frame, samples);
  } else if (data.type === "open") {
    link.open(data.address, data.start, data.bypass);
  } else if (data.type === "say") {
    link.say(data.message);
  } else if (data.type === "close") {
    link.close();
  }
};
