/**
 * The gateway's address without a slash at its end. An ingress may serve it below a path of a shared host, so it is found by the
 * address of this file, which is below `dashboard/assets/` of the gateway.
 */
export const gatewayUrl = gatewayOf(import.meta.url, import.meta.env.PROD, window.location.origin);

/** The path of the dashboard in the browser's address. */
export const dashboardPath = `${new URL(gatewayUrl).pathname.replace(/\/$/, "")}/dashboard`;

export function gatewayOf(file: string, built: boolean, origin: string): string {
  return built ? new URL("../..", file).href.replace(/\/$/, "") : origin;
}
