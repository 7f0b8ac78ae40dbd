import type { ReactNode } from "react";
import { Failure } from "./notice";
import { Card } from "./page";

interface Props<T> {
  query: { data: T | undefined; error: unknown; isError: boolean; refetch: () => unknown };
  /** Shown until the first response. */
  loading: ReactNode;
  /** Whether an error needs a card of its own, on pages where none surrounds the query. */
  errorInCard?: boolean;
  children: (data: T) => ReactNode;
}

/** The data of a query; before there is any, a placeholder or the error with a button to retry. */
export function QueryView<T>({ query, loading, errorInCard, children }: Props<T>) {
  if (query.data !== undefined) return children(query.data);
  if (!query.isError) return loading;
  const failure = <Failure error={query.error} retry={() => void query.refetch()} />;
  return errorInCard ? <Card>{failure}</Card> : failure;
}
