// Shows that the server is alive, what it runs on, and its voices. A server that asks for a token
// gets it from the address: open /#token=… .
"use strict";

const EVERY_MS = 2000;
const $ = (id) => document.getElementById(id);
const token = new URLSearchParams(location.hash.slice(1)).get("token");

async function ask(path) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { headers, cache: "no-store" });
  if (answer.status === 401) throw new Error("This server asks for a token: open this page as /#token=…");
  if (!answer.ok) throw new Error((await answer.text()).trim() || `HTTP ${answer.status}`);
  return answer.json();
}

function say(text, kind) {
  $("state").textContent = text;
  $("state").className = kind;
}

function duration(seconds) {
  const [h, m] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return h ? `${h} h ${m} min` : m ? `${m} min` : `${Math.floor(seconds)} s`;
}

function paragraph(text, kind) {
  const p = document.createElement("p");
  p.textContent = text;
  p.className = kind;
  return p;
}

function voice(card, isDefault) {
  const item = document.createElement("li");
  const name = document.createElement("strong");
  name.textContent = card.name;
  item.append(name, isDefault ? " · default" : "");
  if (card.error) item.append(paragraph(card.error, "error"));
  if (card.description) item.append(paragraph(card.description, "note"));
  if (card.licence) item.append(paragraph(`Licence: ${card.licence}`, "note"));
  return item;
}

async function voices() {
  const { default: chosen, voices } = await ask("v1/voices");
  $("list").replaceChildren(...voices.map((card) => voice(card, card.name === chosen)));
  $("voices").hidden = false;
}

function facts(info) {
  $("streams").textContent = `${info.streams.open} of ${info.streams.most}`;
  $("provider").textContent = info.provider.replace("ExecutionProvider", "") || "…";
  $("version").textContent = `${info.version}, protocol ${info.protocol}`;
  $("uptime").textContent = duration(info.uptime_s);
  $("command").textContent = `timbral send speech.wav out.wav --server ws://${location.host}`;
  $("facts").hidden = $("try").hidden = false;
}

async function look(listed) {
  try {
    const info = await ask("v1/info");
    facts(info);
    say(info.ready ? "Ready." : "Loading the default voice …", info.ready ? "good" : "");
    if (info.ready && !listed) {
      await voices();
      listed = true;
    }
  } catch (error) {
    const away = error instanceof TypeError;
    say(away ? "The server does not answer." : error.message, "bad");
    listed = listed && !away;
  }
  setTimeout(() => look(listed), EVERY_MS);
}

look(false);
