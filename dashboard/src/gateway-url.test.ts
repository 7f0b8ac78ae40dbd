import { expect, it } from "vitest";
import { gatewayOf } from "./gateway-url";

it("finds the gateway by the address of the page's files", () => {
  const origin = "https://host.example";
  const built = (path: string) => gatewayOf(`${origin}${path}/dashboard/assets/index-1a2b.js`, true, origin);
  expect(built("")).toBe(origin);
  expect(built("/llm")).toBe(`${origin}/llm`);
  expect(built("/a/b")).toBe(`${origin}/a/b`);
  expect(gatewayOf("http://localhost:5173/dashboard/src/gateway-url.ts", false, "http://localhost:5173")).toBe(
    "http://localhost:5173",
  );
});
