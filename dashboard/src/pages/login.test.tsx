import { fireEvent, screen, waitFor } from "@testing-library/react";
import { expect, test } from "vitest";
import { gateway, refused, show } from "../../tests/render";
import { session } from "../api";
import { Login } from "./login";

function enter(key: string) {
  fireEvent.change(screen.getByLabelText("Admin key"), { target: { value: key } });
  fireEvent.click(screen.getByRole("button", { name: "Log in" }));
}

test("the key is sent once and kept nowhere", async () => {
  session.set(null);
  const sent = gateway({ "POST /admin/v1/session": () => ({ csrf: "w0rd", expires_at: "2030-01-01T00:00:00Z" }) });
  show(Login);
  enter(" boss ");
  await waitFor(() => expect(session.get()?.csrf).toBe("w0rd"));
  expect(sent.map((each) => each.body)).toEqual([{ key: "boss" }]);
  const stored = JSON.stringify({ ...localStorage, ...sessionStorage });
  expect(stored).not.toContain("boss");
  expect(stored).not.toContain("w0rd");
});

test("each refusal says what to do", async () => {
  let answer = refused(401, "invalid_api_key", "");
  gateway({ "POST /admin/v1/session": () => answer });
  show(Login);
  enter("x");
  expect(await screen.findByText("This is not the admin key.")).toBeTruthy();
  answer = refused(429, "too_many_attempts", "", { "retry-after": "30" });
  enter("y");
  expect(await screen.findByText("Too many wrong keys. Try again in 30 s.")).toBeTruthy();
  answer = refused(503, "admin_key_not_set", "");
  enter("z");
  expect(await screen.findByText(/has no admin key: set TOLLFREE_ADMIN_KEY/)).toBeTruthy();
});
