// The conversation with the server, played with sockets, time and chance of the test's own.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Link, found, streamAddress } from "../../../clients/web/link.js";
import { packFrame, unpackFrame } from "../../../clients/web/protocol.js";

const START = {
  version: 1,
  voice: "ada",
  sample_rate: 48_000,
  encoding: "s16le",
  profile: "auto",
  controls: {},
};
const READY = { type: "ready", latency_samples: 480, hop_samples: 480 };

class Socket {
  readyState = 1;
  bufferedAmount = 0;
  sent = [];
  closed = false;
  send(data) {
    this.sent.push(data);
  }
  close() {
    this.closed = true;
  }
  get texts() {
    return this.sent.filter((data) => typeof data === "string").map((data) => JSON.parse(data));
  }
  get frames() {
    return this.sent.filter((data) => typeof data !== "string").map((data) => unpackFrame(data));
  }
  hear(message) {
    this.onmessage({ data: message instanceof ArrayBuffer ? message : JSON.stringify(message) });
  }
}

function talk() {
  const world = { now: 0, sockets: [], timers: new Map(), told: [], played: [] };
  const outside = {
    socket: (url, protocol) => {
      world.sockets.push(Object.assign(new Socket(), { url, protocol }));
      return world.sockets.at(-1);
    },
    now: () => world.now,
    later: (call, ms) => {
      const timer = {};
      world.timers.set(timer, { call, at: world.now + ms });
      return timer;
    },
    never: (timer) => world.timers.delete(timer),
    random: () => 1,
  };
  world.link = new Link(
    outside,
    (event) => world.told.push(event),
    (sound) => world.played.push(sound),
  );
  world.pass = (ms) => {
    for (const until = world.now + ms; ;) {
      const [next] = [...world.timers].sort((a, b) => a[1].at - b[1].at);
      if (!next || next[1].at > until) {
        world.now = until;
        return;
      }
      world.timers.delete(next[0]);
      world.now = next[1].at;
      next[1].call();
    }
  };
  world.open = () => {
    world.link.open("ws://here/v1/stream", START, false);
    world.answer();
  };
  world.answer = () => {
    const socket = world.sockets.at(-1);
    socket.onopen();
    socket.hear(READY);
    return socket;
  };
  world.state = () => world.told.filter(({ type }) => type === "state").at(-1);
  return world;
}

test("the stream's address is beside the page's", () => {
  assert.equal(streamAddress("http://127.0.0.1:8765/#token=x"), "ws://127.0.0.1:8765/v1/stream");
  assert.equal(streamAddress("https://a.example/voice/?x=1"), "wss://a.example/voice/v1/stream");
});

test("a client comes back to the replica that its secret begins with", () => {
  const address = "wss://a.example/v1/stream";
  assert.equal(found(address, ""), address);
  assert.equal(found(address, "c2VjcmV0"), address);
  assert.equal(found(address, "b-2.c2VjcmV0"), `${address}?replica=b-2`);
  const world = talk();
  world.link.open("ws://here/v1/stream", START, false);
  world.sockets[0].onopen();
  world.sockets[0].hear({ ...READY, resume: "b.s1" });
  world.sockets[0].onclose({ code: 1006 });
  world.pass(501);
  assert.equal(world.sockets[1].url, "ws://here/v1/stream?replica=b");
});

test("nothing is sent before the server is ready, and positions begin with the first chunk", () => {
  const world = talk();
  world.link.open("ws://here/v1/stream", START, false);
  const [socket] = world.sockets;
  world.link.hear(1000, new Float32Array(256));
  socket.onopen();
  world.link.hear(1256, new Float32Array(256));
  assert.deepEqual(socket.texts, [{ type: "start", ...START }]);
  socket.hear(READY);
  for (const frame of [1512, 1768, 2280]) world.link.hear(frame, new Float32Array(256));
  assert.deepEqual(
    socket.frames.map(({ seq, position }) => [seq, position]),
    [
      [0, 0],
      [1, 256],
      [2, 768],
    ],
  );
});

test("positions never go back, even if the browser counts a block twice", () => {
  const world = talk();
  world.open();
  for (const frame of [0, 256, 384, 640]) world.link.hear(frame, new Float32Array(256));
  assert.deepEqual(
    world.sockets[0].frames.map(({ position }) => position),
    [0, 256, 512, 768],
  );
});

test("sound that came back is played with its position and the stream's origin", () => {
  const world = talk();
  world.open();
  const [socket] = world.sockets;
  world.link.hear(5000, new Float32Array(256));
  socket.hear(packFrame(0, 128, Float32Array.of(0.5, -0.5)));
  const { position, origin, samples } = world.played.at(-1);
  assert.deepEqual([position, origin, samples.length], [128, 5000, 2]);
});

test("what the socket cannot take is dropped, not queued, and the next keeps its place", () => {
  const world = talk();
  world.open();
  const [socket] = world.sockets;
  world.link.hear(0, new Float32Array(256));
  socket.bufferedAmount = 20_000;
  world.link.hear(256, new Float32Array(256));
  socket.bufferedAmount = 0;
  world.link.hear(512, new Float32Array(256));
  assert.deepEqual(
    socket.frames.map(({ seq, position }) => [seq, position]),
    [
      [0, 0],
      [1, 512],
    ],
  );
  assert.deepEqual(world.told.at(-1), { type: "dropped", samples: 256 });
});

test("a lost server is silence, and is tried again later and later", () => {
  const world = talk();
  world.open();
  world.sockets[0].onclose({ code: 1006 });
  assert.equal(world.played.at(-1), null);
  assert.deepEqual([world.state().state, world.state().seconds], ["waiting", 0.5]);
  world.pass(499);
  assert.equal(world.sockets.length, 1);
  world.pass(2);
  assert.equal(world.sockets.length, 2);
  world.sockets[1].onclose({ code: 1006 });
  assert.equal(world.state().seconds, 1);
  world.pass(1001);
  world.answer();
  assert.equal(world.state().state, "live");
  world.pass(6000);
  world.sockets[2].onclose({ code: 1001 });
  assert.equal(world.state().seconds, 0.5, "after a steady stream it starts anew");
});

test("a stream whose connection broke is resumed on the same clock; one that ended is not", () => {
  const world = talk();
  world.open();
  const [first] = world.sockets;
  first.hear({ ...READY, resume: "s1" });
  world.link.hear(1000, new Float32Array(256));
  first.onclose({ code: 1006 });
  world.pass(501);
  const second = world.sockets[1];
  second.onopen();
  assert.equal(second.texts[0].resume, "s1");
  second.hear({ ...READY, resume: "s2", resumed: true, position: 128 });
  world.link.hear(9000, new Float32Array(256));
  assert.deepEqual([second.frames[0].position, second.frames[0].seq], [8000, 1]);
  second.hear(packFrame(0, 128, Float32Array.of(0.5)));
  assert.equal(world.played.at(-1).origin, 1000);
  second.hear({ type: "error", code: "internal", message: "because", fatal: true });
  second.onclose({ code: 1011 });
  world.pass(1001);
  world.sockets[2].onopen();
  assert.ok(!("resume" in world.sockets[2].texts[0]));
  world.sockets[2].hear({ ...READY, resume: "s3" });
  world.link.hear(20_000, new Float32Array(256));
  assert.equal(world.sockets[2].frames[0].position, 0);
  world.link.open("ws://here/v1/stream", START, false);
  world.sockets[3].onopen();
  assert.ok(!("resume" in world.sockets[3].texts[0]), "what is asked for anew is new");
});

test("an overloaded server is asked again, one that wants a token is not", () => {
  for (const [code, state] of [
    ["overloaded", "waiting"],
    ["internal", "waiting"],
    ["unauthorized", "refused"],
    ["voice_not_found", "refused"],
    ["unsupported", "refused"],
  ]) {
    const world = talk();
    world.link.open("ws://here/v1/stream", START, false);
    const [socket] = world.sockets;
    socket.onopen();
    socket.hear({ type: "error", code, message: "because", fatal: true });
    socket.onclose({ code: 1008 });
    assert.deepEqual(
      [world.state().state, world.state().code, world.state().message],
      [state, code, "because"],
    );
    world.pass(60_000);
    assert.equal(world.sockets.length > 1, state === "waiting", code);
  }
});

test("a server that is full is asked again no sooner than it said", () => {
  const world = talk();
  world.link.open("ws://here/v1/stream", START, false);
  const [socket] = world.sockets;
  socket.onopen();
  socket.hear({ type: "error", code: "overloaded", message: "full", fatal: true, retry_s: 5 });
  socket.onclose({ code: 1013 });
  assert.ok(world.state().seconds >= 5 && world.state().seconds <= 6);
  world.pass(4999);
  assert.equal(world.sockets.length, 1);
  world.pass(1002);
  assert.equal(world.sockets.length, 2);
});

test("what was changed holds for the next stream too", () => {
  const world = talk();
  world.open();
  world.link.say({ type: "controls", pitch: 3 });
  world.link.say({ type: "voice", voice: "ben" });
  world.link.say({ type: "bypass", on: true });
  world.sockets[0].onclose({ code: 1006 });
  world.link.say({ type: "controls", formant: 1 });
  world.pass(501);
  const second = world.answer();
  const [start, bypass] = second.texts;
  assert.deepEqual([start.voice, start.controls], ["ben", { pitch: 3, formant: 1 }]);
  assert.deepEqual(bypass, { type: "bypass", on: true });
});

test("bypass is asked for only by who asked for it", () => {
  const world = talk();
  world.open();
  assert.ok(world.sockets[0].texts.every(({ type }) => type !== "bypass"));
});

test("a server that says nothing for a minute is left", () => {
  const world = talk();
  world.link.open("ws://here/v1/stream", START, false);
  world.sockets[0].onopen();
  world.pass(60_001);
  assert.ok(world.sockets[0].closed);
  assert.equal(world.state().state, "waiting");
});

test("round trips are told as their median", () => {
  const world = talk();
  world.open();
  const [socket] = world.sockets;
  for (const ms of [4, 90, 6]) {
    const { t } = socket.texts.filter(({ type }) => type === "ping").at(-1);
    world.now = t + ms;
    socket.hear({ type: "pong", t });
    world.pass(1000);
  }
  assert.equal(world.told.filter(({ type }) => type === "trip").at(-1).ms, 6);
});

test("the end is said to the server, which is then left, and not tried again", () => {
  const world = talk();
  world.open();
  const [socket] = world.sockets;
  world.link.close();
  assert.equal(socket.texts.at(-1).type, "stop");
  assert.equal(world.state().state, "closed");
  socket.hear({ type: "stopped", samples_in: 0, samples_out: 0 });
  assert.ok(socket.closed);
  world.link.hear(0, new Float32Array(256));
  world.pass(60_000);
  assert.equal(world.sockets.length, 1);
  assert.equal(socket.frames.length, 0);
});

test("another stream takes the place of the one that is open", () => {
  const world = talk();
  world.open();
  world.link.open("ws://here/v1/stream", { ...START, profile: "low" }, false);
  assert.ok(world.sockets[0].closed);
  assert.equal(world.played.at(-1), null);
  assert.equal(world.answer().texts[0].profile, "low");
});
