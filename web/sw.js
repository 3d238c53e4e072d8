// Keeps the page for use without a network: what it was built of when it is installed, the model as it is loaded.

const VERSION = "unbuilt", SHELL = []; // `make web` writes both

const NAME = `postcards-${VERSION}`;

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(NAME).then((cache) => cache.addAll(SHELL)));
});

self.addEventListener("activate", (event) => {
  event.waitUntil((async () => {
    const old = (await caches.keys()).filter((name) => name.startsWith("postcards-") && name !== NAME);
    await Promise.all(old.map((name) => caches.delete(name)));
    await self.clients.claim();
  })());
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method === "GET" && new URL(request.url).origin === location.origin) event.respondWith(kept(request));
});

// From the cache, else from the network and then into the cache, whole answers only.
async function kept(request) {
  const cache = await caches.open(NAME);
  const known = await cache.match(request, { ignoreSearch: true });
  if (known) return known;
  const answer = await fetch(request);
  const whole = answer.status === 200;
  if (whole) await cache.put(request, answer.clone()).catch(() => {}); // a full disk is no reason not to draw
  return answer;
}
