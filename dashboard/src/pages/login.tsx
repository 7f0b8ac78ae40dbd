import { Button, PasswordInput } from "@mantine/core";
import { useEffect, useState, type SubmitEvent } from "react";
import { ApiError, api, bodyOf, session } from "../api";
import { Logo } from "../components/shell";
import { duration } from "../format";
import classes from "./login.module.css";

export function Login() {
  const [key, setKey] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    document.title = "Log in · Tollfree";
  }, []);

  async function logIn(event: SubmitEvent) {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    try {
      session.set(await bodyOf(api.POST("/admin/v1/session", { body: { key: key.trim() } })));
    } catch (error) {
      setProblem(errorText(error));
      setBusy(false);
    }
  }

  return (
    <main className={classes.page}>
      <form className={classes.card} onSubmit={(event) => void logIn(event)}>
        <div className={classes.brand}>
          <Logo size={30} />
          <h1>Tollfree</h1>
        </div>
        <p className={classes.lead}>One shared budget for every free tier.</p>
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
          The server's <code>TOLLFREE_ADMIN_KEY</code>. Without one, <code>make run</code> generates a key and prints it
          at start-up.
        </p>
      </form>
    </main>
  );
}

function errorText(error: unknown): string {
  if (!(error instanceof ApiError)) return String(error);
  if (error.problem.code === "admin_key_not_set")
    return "This gateway has no admin key: set TOLLFREE_ADMIN_KEY and restart it.";
  if (error.status === 429)
    return `Too many failed logins.${error.retryAfterMs ? ` Try again in ${duration(error.retryAfterMs)}.` : ""}`;
  if (error.status === 401 || error.status === 403) return "This is not the admin key.";
  return error.message;
}
