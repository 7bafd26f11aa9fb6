// What the server answers over HTTP.

/** Raised when the server does not answer as hoped; `code` is the protocol's, or "" if away. */
export class ServerError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

const CODES = { 401: "unauthorized", 404: "voice_not_found", 503: "loading" };

async function get(path, token, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let answer;
  try {
    answer = await fetch(path, { headers, cache: "no-store", ...options });
  } catch {
    throw new ServerError("", "The server does not answer.");
  }
  if (answer.ok) return answer;
  const text = (await answer.text()).trim();
  throw new ServerError(CODES[answer.status] ?? "internal", text || `HTTP ${answer.status}`);
}

/** {default, voices} */
export const getVoices = async (token) => (await get("v1/voices", token)).json();

/** Version, device, streams, … */
export const getInfo = async (token) => (await get("v1/info", token)).json();

/** A recording of the voice, as a blob. */
export const getPreview = async (voice, token) =>
  (await get(`v1/voices/${encodeURIComponent(voice)}/preview.wav`, token)).blob();

/** Send a voice's files; {voice, missing} once the server has made a voice of them. */
export async function postVoice(files, token) {
  const body = new FormData();
  for (const file of files) body.append("file", file);
  return (await get("v1/voices", token, { method: "POST", body })).json();
}

/** Delete a voice and its files from the server. */
export const deleteVoice = async (voice, token) =>
  get(`v1/voices/${encodeURIComponent(voice)}`, token, { method: "DELETE" });
