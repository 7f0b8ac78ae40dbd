import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";
import { compress } from "./build/compress.ts";
import { themeCss } from "./build/theme-css.ts";
import { mockGateway } from "./tests/mock/gateway.ts";

/** The gateway that `npm run dev` forwards API requests to. */
const GATEWAY = process.env.TOLLFREE_URL ?? "http://127.0.0.1:3000";

const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

export default defineConfig(({ mode }) => ({
  base: "/dashboard/",
  // The files find each other by their own address, so that an ingress may serve them below a path of a shared host. Only the
  // page has absolute addresses: it is served at every view's path, and the gateway writes its base path into it.
  experimental: {
    renderBuiltUrl: (name, { hostType }) => (hostType === "html" ? `/dashboard/${name}` : { relative: true }),
  },
  plugins: [react(), themeCss(), compress(), mode === "mock" && mockGateway()],
  server: mode === "mock" ? {} : { proxy: { "/v1": GATEWAY, "/admin": GATEWAY } },
  // The same policy as the gateway, so that violations show in development.
  preview: { headers: { "content-security-policy": POLICY } },
  build: {
    target: "es2022",
    assetsInlineLimit: 0, // no data: URLs, which the CSP forbids
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  test: {
    environment: "jsdom",
    include: ["src/**/*.test.{ts,tsx}"],
    setupFiles: ["tests/unit.ts"],
    css: false,
    testTimeout: 60_000,
  },
}));
