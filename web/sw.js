// Keeps the page for use without a network: what it was built of when it is installed, the model as it is loaded.
// A version is kept and used as a whole. A newer one waits until no page of the older is open, or until the older asks
// for a file that the server has no longer; what is below a version's name never changes (tools/web.py).

const VERSION = "unbuilt", SHELL = []; // `make web` writes both

const MINE = `postcards ${registration.scope} `; // another copy of the page may lie under the same origin
const NAME = MINE + VERSION;

// Past the browser's own cache, in which the front of an older version may lie.
self.addEventListener("install", (event) => {
  const fresh = SHELL.map((name) => new Request(name, { cache: "reload" }));
  event.waitUntil(caches.open(NAME).then((cache) => cache.addAll(fresh)));
});

self.addEventListener("message", ({ data }) => { if (data === "begin") self.skipWaiting(); });

self.addEventListener("activate", (event) => {
  event.waitUntil((async () => {
    const old = (await caches.keys()).filter((name) => name.startsWith(MINE) && name !== NAME);
    await Promise.all(old.map((name) => caches.delete(name)));
    await self.clients.claim();
  })());
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method === "GET" && new URL(request.url).origin === location.origin) event.respondWith(kept(event));
});

// From the cache, else from the network and meanwhile into the cache, whole answers only. The page does not wait for the
// cache: it reads a file, and says how much has come, while the file comes.
async function kept(event) {
  const { request } = event;
  const cache = await caches.open(NAME);
  const known = await cache.match(front(request) ? "./" : request, { ignoreSearch: true });
  if (known) return known;
  const answer = await fetch(request);
  if (answer.status === 200) {
    event.waitUntil(cache.put(request, answer.clone()).catch(() => {})); // a full disk is no reason not to draw
  }
  if (answer.status === 404) await renew().catch(() => {});
  return answer;
}

// Whether somebody comes to the page, by whichever name a server has for it: the folder's, or a name in it.
function front({ mode, url }) {
  return mode === "navigate" && !new URL(url).pathname.slice(new URL(registration.scope).pathname.length).includes("/");
}

// A file of this version is gone from the server, so a newer one is there: it begins, and the page that says that a
// file is missing is the new one when it is loaded anew, as it asks for. Resolves when that is so.
async function renew() {
  await registration.update();
  const next = registration.installing ?? registration.waiting;
  if (!next) return;
  await new Promise((resolve) => {
    const look = () => { if (next.state !== "installing") resolve(); };
    next.addEventListener("statechange", look);
    look();
  });
  next.postMessage("begin");
}
