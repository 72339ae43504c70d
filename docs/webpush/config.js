// The only file to change.

// The public key that `notifications keys webpush` printed as applicationServerKey.
export const applicationServerKey = "PASTE-IT-HERE";

// Where devices are registered. On the page's own host: a path that your web server passes on to the service, or a
// call of your backend, which knows who is logged in and has the key with the scope `devices`.
export const devicesUrl = "/v1/recipients/user-42/devices";

// Headers of these calls. With the service itself behind that path: a JWT with the scope `devices` whose `sub` is the
// recipient. An API key does not belong into a page.
export async function headers() {
  return {};
}
