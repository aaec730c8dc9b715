import type { Caller, Subject } from './callers.client.ts';
import type { Route } from './route.ts';

/** A request that was read and checked by its route. */
export interface ApiRequest {
  readonly id: string;
  readonly caller: Caller;
  /** As the route's schemas give them; undefined where it has none. */
  readonly params: unknown;
  readonly query: unknown;
  readonly body: unknown;
  /** Asks for the permission of the route: for an operation that authorizes by itself. @throws ApiError `Forbidden` */
  authorize(subject: Subject): Promise<void>;
  /** The header Idempotency-Key. */
  readonly idempotencyKey: string | undefined;
  /** For a route whose body is `Bytes`: what comes, as it comes. */
  bytes(): AsyncIterable<Uint8Array>;
  /** Aborted when the caller has gone away or this pod ends. */
  readonly signal: AbortSignal;
  /**
   * Asks the other operator pods the same, `query` replacing parameters of it: for what this pod can not do, having done nothing. Undefined comes
   * of it when none of them can. Absent: there are none, or one of them has asked already.
   */
  readonly elsewhere?: (query?: Readonly<Record<string, string>>) => Promise<ApiAnswer | undefined>;
}

/** What is answered: JSON, or a stream of something else. */
export type ApiAnswer = WholeAnswer | StreamedAnswer;

export interface WholeAnswer {
  readonly status: number;
  readonly body?: object;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface StreamedAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly headers?: Readonly<Record<string, string>>;
  stream(out: Outlet): Promise<void>;
}

/** Where a stream goes. */
export interface Outlet {
  /** Resolves when there is room for more; rejects when the caller has gone away. */
  write(chunk: string | Uint8Array): Promise<void>;
  readonly signal: AbortSignal;
}

/** What a route does. */
export interface Operation {
  readonly route: Route;
  /** It asks for the permission itself, when it knows whose what is. */
  readonly authorizesItself?: boolean;
  /** What its permission is asked for; absent: all sandboxes. */
  subjectOf?(request: Pick<ApiRequest, 'params' | 'query' | 'body'>): Subject;
  serve(request: ApiRequest): Promise<ApiAnswer>;
}
