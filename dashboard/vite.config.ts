import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";
import { compress } from "./build/compress.ts";
import { themeCss } from "./build/theme-css.ts";
import { mockGateway } from "./tests/mock/gateway.ts";

/** Where `npm run dev` finds a running gateway. */
const GATEWAY = process.env.TOLLFREE_URL ?? "http://127.0.0.1:3000";

const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

export default defineConfig(({ mode }) => ({
  base: "/dashboard/",
  plugins: [react(), themeCss(), compress(), mode === "mock" && mockGateway()],
  server: mode === "mock" ? {} : { proxy: { "/v1": GATEWAY, "/admin": GATEWAY } },
  // The gateway's own policy, so that what it would forbid is seen here, too.
  preview: { headers: { "content-security-policy": POLICY } },
  build: {
    target: "es2022",
    assetsInlineLimit: 0, // no data: URL, so that the CSP need not allow them
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
