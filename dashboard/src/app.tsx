import { Loader } from "@mantine/core";
import { Suspense, lazy, useEffect, useState, useSyncExternalStore } from "react";
import { Redirect, Route, Switch, useLocation, useSearch } from "wouter";
import { ApiError, api, bodyOf, session } from "./api";
import { Login } from "./pages/login";
import { ErrorBoundary } from "./components/error-boundary";
import { Failure } from "./components/notice";
import { Shell } from "./components/shell";
import { liveFeed, queryClient } from "./queries";

const Pool = lazy(() => import("./pages/pool/pool"));
const Requests = lazy(() => import("./pages/requests/requests"));
const Clients = lazy(() => import("./pages/clients/clients"));
const Providers = lazy(() => import("./pages/providers/providers"));
const Usage = lazy(() => import("./pages/usage/usage"));
const Models = lazy(() => import("./pages/models/models"));
const Playground = lazy(() => import("./pages/playground/playground"));
const Settings = lazy(() => import("./pages/settings/settings"));
const Start = lazy(() => import("./pages/start/start"));

export function App() {
  const current = useSyncExternalStore(session.subscribe, session.get);
  const [problem, setProblem] = useState<ApiError | null>(null);
  const [path] = useLocation();
  const query = useSearch();

  useEffect(() => {
    if (current !== undefined || problem) return;
    bodyOf(api.GET("/admin/v1/session")).then(
      (found) => session.set(found),
      (error: unknown) =>
        error instanceof ApiError && error.status !== 401 && error.status !== 503
          ? setProblem(error)
          : session.set(null),
    );
  }, [current, problem]);

  const here = path + (query ? `?${query}` : "");
  if (problem) return <Failure error={problem} retry={() => setProblem(null)} fullPage />;
  if (current === undefined) return <PageLoader />;
  if (path === "/login")
    return current ? <Redirect to={new URLSearchParams(query).get("next") ?? "/"} replace /> : <Login />;
  if (current === null)
    return <Redirect to={here === "/" ? "/login" : `/login?next=${encodeURIComponent(here)}`} replace />;
  return <LoggedIn />;
}

function LoggedIn() {
  const page = useLocation()[0].split("/")[1];
  useEffect(() => {
    liveFeed.start();
    return () => {
      liveFeed.stop();
      queryClient.clear();
    };
  }, []);
  return (
    <Shell>
      <ErrorBoundary key={page}>
        <Suspense fallback={<PageLoader />}>
          <Switch>
            <Route path="/" component={Pool} />
            <Route path="/requests/:id?" component={Requests} />
            <Route path="/clients/:id?" component={Clients} />
            <Route path="/providers" component={Providers} />
            <Route path="/usage" component={Usage} />
            <Route path="/models" component={Models} />
            <Route path="/playground" component={Playground} />
            <Route path="/settings" component={Settings} />
            <Route path="/start" component={Start} />
            <Route>
              <Redirect to="/" replace />
            </Route>
          </Switch>
        </Suspense>
      </ErrorBoundary>
    </Shell>
  );
}

const PageLoader = () => <Loader aria-label="Loading" m="xl" size="sm" />;
