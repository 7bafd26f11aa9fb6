// What a busy server gave up, in words.

const GIVEN_UP = {
  "light pitch": "the pitch is found the light way",
  "less context": "the pitch is found the light way, and voices of full size hear less of the past",
  "longer hops": "longer pieces are converted at once",
  "longest hops": "the longest pieces are converted at once",
};
export const COMES_BACK =
  "Other streams or programs take this server’s time. What it gave up comes back when there is room.";

/** What the server gives up for now and what that means for the latency; "" for nothing. */
export function pressure({ ready, stats }) {
  if (!ready || !stats?.eased) return "";
  const more = Math.round((1000 * (stats.latency_samples - ready.latency_samples)) / ready.sample_rate);
  const latency = more >= 1 ? `${more} ms more` : "as before";
  const what = GIVEN_UP[stats.eased] ?? stats.eased;
  return `The server is busy: ${what}, latency is ${latency}.`;
}
