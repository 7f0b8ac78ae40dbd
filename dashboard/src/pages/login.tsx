import { Button, PasswordInput } from "@mantine/core";
import { useEffect, useState, type SubmitEvent } from "react";
import { Refusal, ask, session } from "../api";
import { Mark } from "../components/shell";
import type { Session } from "../types";
import { span } from "../format";
import classes from "./login.module.css";

export function Login() {
  const [key, setKey] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    document.title = "Log in · Tollfree";
  }, []);

  async function enter(event: SubmitEvent) {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    try {
      session.set(await ask<Session>("POST", "/admin/v1/session", { key: key.trim() }));
    } catch (error) {
      setProblem(said(error));
      setBusy(false);
    }
  }

  return (
    <main className={classes.page}>
      <form className={classes.card} onSubmit={(event) => void enter(event)}>
        <div className={classes.brand}>
          <Mark size={30} />
          <h1>Tollfree</h1>
        </div>
        <p className={classes.lead}>One live budget over every free tier.</p>
        <PasswordInput
          label="Admin key"
          autoComplete="current-password"
          autoFocus
          required
          value={key}
          error={problem}
          withAsterisk={false}
          visibilityToggleButtonProps={{ "aria-label": "Show the key" }}
          onChange={(event) => setKey(event.currentTarget.value)}
        />
        <Button type="submit" fullWidth loading={busy} disabled={key.trim() === ""}>
          Log in
        </Button>
        <p className={classes.hint}>
          It is <code>TOLLFREE_ADMIN_KEY</code> of the server. Where none is set, <code>make run</code> makes one and
          prints it at the start.
        </p>
      </form>
    </main>
  );
}

function said(error: unknown): string {
  if (!(error instanceof Refusal)) return String(error);
  if (error.problem.code === "admin_key_not_set")
    return "This gateway has no admin key: set TOLLFREE_ADMIN_KEY and start it again.";
  if (error.status === 429)
    return `Too many wrong keys.${error.retryAfterMs ? ` Try again in ${span(error.retryAfterMs)}.` : ""}`;
  if (error.status === 401 || error.status === 403) return "This is not the admin key.";
  return error.message;
}
