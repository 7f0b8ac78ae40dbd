import { Loader } from "@mantine/core";
import { Suspense, lazy, useEffect, useState, useSyncExternalStore } from "react";
import { Redirect, Route, Switch, useLocation, useSearch } from "wouter";
import { Refusal, ask, session } from "./api";
import { Login } from "./pages/login";
import { Boundary } from "./components/error-boundary";
import { Failure } from "./components/notice";
import { Shell } from "./components/shell";
import { live, queries } from "./queries";
import type { Session } from "./types";

const Pool = lazy(() => import("./pages/pool/pool"));
const Requests = lazy(() => import("./pages/requests/requests"));
const Clients = lazy(() => import("./pages/clients/clients"));
const Models = lazy(() => import("./pages/models/models"));
const Playground = lazy(() => import("./pages/playground/playground"));
const Settings = lazy(() => import("./pages/settings/settings"));
const Start = lazy(() => import("./pages/start/start"));

export function App() {
  const held = useSyncExternalStore(session.subscribe, session.get);
  const [problem, setProblem] = useState<Refusal | null>(null);
  const [path] = useLocation();
  const query = useSearch();

  useEffect(() => {
    if (held !== undefined || problem) return;
    ask<Session>("GET", "/admin/v1/session").then(
      (found) => session.set(found),
      (error: unknown) =>
        error instanceof Refusal && error.status !== 401 && error.status !== 503
          ? setProblem(error)
          : session.set(null),
    );
  }, [held, problem]);

  const here = path + (query ? `?${query}` : "");
  if (problem) return <Failure error={problem} retry={() => setProblem(null)} whole />;
  if (held === undefined) return <Waiting />;
  if (path === "/login")
    return held ? <Redirect to={new URLSearchParams(query).get("next") ?? "/"} replace /> : <Login />;
  if (held === null)
    return <Redirect to={here === "/" ? "/login" : `/login?next=${encodeURIComponent(here)}`} replace />;
  return <Inside />;
}

function Inside() {
  const page = useLocation()[0].split("/")[1];
  useEffect(() => {
    live.start();
    return () => {
      live.stop();
      queries.clear();
    };
  }, []);
  return (
    <Shell>
      <Boundary key={page}>
        <Suspense fallback={<Waiting />}>
          <Switch>
            <Route path="/" component={Pool} />
            <Route path="/requests/:id?" component={Requests} />
            <Route path="/clients/:id?" component={Clients} />
            <Route path="/models" component={Models} />
            <Route path="/playground" component={Playground} />
            <Route path="/settings" component={Settings} />
            <Route path="/start" component={Start} />
            <Route>
              <Redirect to="/" replace />
            </Route>
          </Switch>
        </Suspense>
      </Boundary>
    </Shell>
  );
}

const Waiting = () => <Loader aria-label="Loading" m="xl" size="sm" />;
