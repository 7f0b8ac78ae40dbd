import { fireEvent, screen, waitFor } from "@testing-library/react";
import { expect, test } from "vitest";
import { gateway, errorResponse, show } from "../../tests/render";
import { session } from "../api";
import { Login } from "./login";

function logInWith(key: string) {
  fireEvent.change(screen.getByLabelText("Admin key"), { target: { value: key } });
  fireEvent.click(screen.getByRole("button", { name: "Log in" }));
}

test("the key is sent once and not stored", async () => {
  session.set(null);
  const sent = gateway({
    "POST /admin/v1/session": () => ({ csrf: "csrf-token", expires_at: "2030-01-01T00:00:00Z" }),
  });
  show(Login);
  logInWith(" the-key ");
  await waitFor(() => expect(session.get()?.csrf).toBe("csrf-token"));
  expect(sent.map((each) => each.body)).toEqual([{ key: "the-key" }]);
  const stored = JSON.stringify({ ...localStorage, ...sessionStorage });
  expect(stored).not.toContain("the-key");
  expect(stored).not.toContain("csrf-token");
});

test("each error says what to do", async () => {
  let answer = errorResponse(401, "invalid_api_key", "");
  gateway({ "POST /admin/v1/session": () => answer });
  show(Login);
  logInWith("x");
  expect(await screen.findByText("This is not the admin key.")).toBeTruthy();
  answer = errorResponse(429, "too_many_attempts", "", { "retry-after": "30" });
  logInWith("y");
  expect(await screen.findByText("Too many failed logins. Try again in 30 s.")).toBeTruthy();
  answer = errorResponse(503, "admin_key_not_set", "");
  logInWith("z");
  expect(await screen.findByText(/has no admin key: set TOLLFREE_ADMIN_KEY/)).toBeTruthy();
});
