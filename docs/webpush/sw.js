// Shows what WEBPUSH sends, and opens its link when it is clicked.

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("push", (event) => {
  const { title = "", body = "", image, data = {} } = event.data?.json() ?? {};
  const buttons = JSON.parse(data.buttons ?? "[]");
  event.waitUntil(
    self.registration.showNotification(title || body, {
      body: title ? body : "",
      image,
      // A repeat of the same notification takes the place of the first.
      tag: data.notification_id,
      data,
      actions: buttons.map(({ text }, place) => ({ action: String(place), title: text })),
    }),
  );
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  const { buttons = "[]", url } = event.notification.data ?? {};
  const target = event.action === "" ? url : JSON.parse(buttons)[Number(event.action)]?.url;
  if (target) {
    event.waitUntil(self.clients.openWindow(target));
  }
});
