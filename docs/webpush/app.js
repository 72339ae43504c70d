// Subscribes this browser, and registers the subscription as a device of the person who is logged in.

import { applicationServerKey, devicesUrl, headers } from "./config.js";

const DEVICE_ID = "notifications-device-id";
const state = document.getElementById("state");
const subscribeButton = document.getElementById("subscribe");
const unsubscribeButton = document.getElementById("unsubscribe");

async function call(method, url, body) {
  const answer = await fetch(url, {
    method,
    headers: { "Content-Type": "application/json", ...(await headers()) },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (!answer.ok && answer.status !== 404) {
    throw new Error(`${method} ${url} answered ${answer.status}`);
  }
  return answer.status === 204 || !answer.ok ? null : answer.json();
}

// Known subscriptions are registered again at each visit, so that the service knows that they are alive.
async function register(subscription) {
  const device = await call("POST", devicesUrl, {
    sender: "WEBPUSH",
    token: JSON.stringify(subscription),
    platform: "web",
    app: location.hostname,
  });
  if (device === null) {
    throw new Error("the service does not know this person");
  }
  localStorage.setItem(DEVICE_ID, device.id);
}

async function subscribe(registration) {
  if ((await Notification.requestPermission()) !== "granted") {
    show("Your browser does not allow notifications from this page.", { canSubscribe: true });
    return;
  }
  const subscription = await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey });
  await register(subscription);
  show("Notifications are on.", { canUnsubscribe: true });
}

async function unsubscribe(registration) {
  const subscription = await registration.pushManager.getSubscription();
  const id = localStorage.getItem(DEVICE_ID);
  if (id !== null) {
    await call("DELETE", `${devicesUrl}/${id}`);
    localStorage.removeItem(DEVICE_ID);
  }
  await subscription?.unsubscribe();
  show("Notifications are off.", { canSubscribe: true });
}

function show(text, { canSubscribe = false, canUnsubscribe = false } = {}) {
  state.textContent = text;
  subscribeButton.disabled = !canSubscribe;
  unsubscribeButton.disabled = !canUnsubscribe;
}

function onClick(button, action) {
  button.addEventListener("click", () => {
    action().catch((error) => show(`That did not work: ${error.message}`, { canSubscribe: true, canUnsubscribe: true }));
  });
}

async function start() {
  if (!("serviceWorker" in navigator) || !("PushManager" in window)) {
    show("This browser has no push notifications. On an iPhone, add the page to the home screen first.");
    return;
  }
  const registration = await navigator.serviceWorker.register("sw.js");
  onClick(subscribeButton, () => subscribe(registration));
  onClick(unsubscribeButton, () => unsubscribe(registration));
  const subscription = await registration.pushManager.getSubscription();
  if (subscription === null) {
    show("Notifications are off.", { canSubscribe: true });
  } else {
    await register(subscription);
    show("Notifications are on.", { canUnsubscribe: true });
  }
}

start().catch((error) => show(`That did not work: ${error.message}`, { canSubscribe: true }));
