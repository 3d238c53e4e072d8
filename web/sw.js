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
  if (request.method === "GET" && new URL(request.url).origin === location.origin) event.respondWith(kept(event));
});

// From the cache, else from the network and meanwhile into the cache, whole answers only. The page does not wait for the
// cache: it reads a file, and says how much has come, while the file comes.
async function kept(event) {
  const { request } = event;
  const cache = await caches.open(NAME);
  const known = await cache.match(request, { ignoreSearch: true });
  if (known) return known;
  const answer = await fetch(request);
  if (answer.status === 200) {
    event.waitUntil(cache.put(request, answer.clone()).catch(() => {})); // a full disk is no reason not to draw
  }
  return answer;
}
