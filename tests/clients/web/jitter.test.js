// The jitter buffer against the traces that Python's follows too.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

import { JitterBuffer } from "../../../clients/web/jitter.js";

const FOLDER = new URL("../../golden/jitter/", import.meta.url);
const AGREE = 1e-5;

/** The sample at a stream position, as tests/golden/make_jitter.py tells. */
const signal = (p) => Math.abs((p % 64) - 32) / 64 + (Math.floor(p / 64) % 64) / 256 - 0.375;
const packet = (position, n) => Float32Array.from({ length: n }, (_, k) => signal(position + k));

function follow(buffer, events) {
  const heard = [];
  for (const event of events) {
    if (event.length === 2) {
      buffer.write(event[0], packet(...event));
      continue;
    }
    const out = new Float32Array(event[0]);
    buffer.read(out);
    const sum = out.reduce((total, x, k) => total + (x * (k + 1)) / out.length, 0);
    heard.push([sum, out[out.length - 1], ...Object.values(buffer.report).map(Number)]);
  }
  return heard;
}

for (const name of readdirSync(FOLDER)) {
  test(`the trace ${name} is followed as Python's buffer follows it`, () => {
    const { rate, settings, events, heard } = JSON.parse(
      readFileSync(new URL(name, FOLDER), "utf8"),
    );
    const found = follow(new JitterBuffer(rate, settings), events);
    assert.equal(found.length, heard.length);
    found.forEach((row, k) =>
      row.forEach((x, i) =>
        assert.ok(
          Math.abs(x - heard[k][i]) < AGREE,
          `row ${k}, number ${i}: ${x}, not ${heard[k][i]}`,
        ),
      ),
    );
  });
}

test("positions may be far: sound passes unchanged beyond 32 bits", () => {
  const buffer = new JitterBuffer(8000, { slack_ms: 1000 });
  const far = 64 * 64 * 2 ** 22;
  const out = new Float32Array(80);
  for (let k = 0; k < 40; k++) {
    buffer.write(far + 80 * k, packet(80 * k, 80));
    buffer.read(out);
  }
  const at = buffer.head - 80 - far;
  assert.deepEqual([...out], [...packet(at, 80)]);
});

test("after a reset it is silent, and takes a stream that begins anew", () => {
  const buffer = new JitterBuffer(8000);
  const out = new Float32Array(80);
  for (let k = 0; k < 40; k++) {
    buffer.write(80 * k, packet(80 * k, 80));
    buffer.read(out);
  }
  assert.ok(buffer.report.playing);
  buffer.reset();
  buffer.read(out);
  assert.ok(out.every((x) => x === 0));
  for (let k = 0; k < 40; k++) {
    buffer.write(80 * k, packet(80 * k, 80));
    buffer.read(out);
  }
  assert.ok(buffer.report.playing && out.some((x) => x !== 0));
});
