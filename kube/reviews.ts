import { createHash } from 'node:crypto';
import type { Clock } from '../process/clock.ts';
import { KubeError } from './errors.ts';
import { TtlCache } from './ttl-cache.ts';
import type { KubeTransport, RequestOptions } from './types.ts';

/** Who a token belongs to, as the API server says. */
export interface UserInfo {
  readonly username: string;
  readonly uid?: string | undefined;
  readonly groups: readonly string[];
  /** For example the node that a token is bound to: `authentication.kubernetes.io/node-name`. */
  readonly extra: Readonly<Record<string, readonly string[]>>;
}

export type Authentication =
  | { readonly kind: 'authenticated'; readonly user: UserInfo; readonly audiences: readonly string[] }
  /** The token is not valid (for these audiences); `reason` is the server's. */
  | { readonly kind: 'refused'; readonly reason: string };

export interface ResourceAttributes {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly subresource?: string | undefined;
  readonly namespace?: string | undefined;
  readonly name?: string | undefined;
}

export type Authorization = { readonly kind: 'allowed' } | { readonly kind: 'denied'; readonly reason: string };

export interface ReviewsOptions {
  readonly transport: KubeTransport;
  readonly clock: Clock;
  /** How long a valid token is believed: so long a revoked one may still be used. Default 10,000 ms. */
  readonly authenticatedMs?: number;
  /** How long a permission is believed. Default 10,000 ms. */
  readonly allowedMs?: number;
  /** How long a refusal is believed. Default 2,000 ms. */
  readonly refusedMs?: number;
  /** Answers of each kind that are remembered. Default 4,096. */
  readonly size?: number;
}

/** Asks the API server who somebody is and what they may do. Rejects with the errors of the transport: then nothing is known. */
export interface Reviews {
  /** TokenReview. */
  authenticate(token: string, audiences: readonly string[], options?: RequestOptions): Promise<Authentication>;
  /** SubjectAccessReview. */
  authorize(user: UserInfo, attributes: ResourceAttributes, options?: RequestOptions): Promise<Authorization>;
}

/** Answers are remembered for a short while under a hash of the question, so that no token is kept; equal questions at once are asked once. */
export function createReviews(options: ReviewsOptions): Reviews {
  const { transport, clock, authenticatedMs = 10_000, allowedMs = 10_000, refusedMs = 2_000, size = 4_096 } = options;
  const authentications = new Answers<Authentication>(clock, size);
  const authorizations = new Answers<Authorization>(clock, size);
  return {
    authenticate: (token, audiences, requestOptions) =>
      authentications.ask(
        hash([token, ...audiences]),
        () => reviewToken(transport, token, audiences, requestOptions),
        ({ kind }) => (kind === 'authenticated' ? authenticatedMs : refusedMs),
      ),
    authorize: (user, attributes, requestOptions) =>
      authorizations.ask(
        hash([user, attributes]),
        () => reviewAccess(transport, user, attributes, requestOptions),
        ({ kind }) => (kind === 'allowed' ? allowedMs : refusedMs),
      ),
  };
}

/** Answers to questions that are asked often. */
class Answers<T> {
  readonly #known: TtlCache<T>;
  readonly #asked = new Map<string, Promise<T>>();

  constructor(clock: Clock, size: number) {
    this.#known = new TtlCache(clock, size);
  }

  ask(key: string, question: () => Promise<T>, ttlMs: (answer: T) => number): Promise<T> {
    const known = this.#known.get(key);
    if (known !== undefined) return Promise.resolve(known);
    const asked = this.#asked.get(key);
    if (asked !== undefined) return asked;
    const asking = question()
      .then((answer) => {
        this.#known.set(key, answer, ttlMs(answer));
        return answer;
      })
      .finally(() => this.#asked.delete(key));
    this.#asked.set(key, asking);
    return asking;
  }
}

async function reviewToken(
  transport: KubeTransport,
  token: string,
  audiences: readonly string[],
  options: RequestOptions | undefined,
): Promise<Authentication> {
  const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec: { token, audiences } };
  const status = statusOf(
    'TokenReview',
    await transport.post('/apis/authentication.k8s.io/v1/tokenreviews', body, options),
  ) as TokenReviewStatus;
  const { username, uid, groups = [], extra = {} } = status.user ?? {};
  if (status.authenticated !== true || username === undefined || username === '') {
    return { kind: 'refused', reason: status.error ?? 'the token is not valid' };
  }
  // A server that does not know audiences answers none: then it has not checked them.
  const valid = status.audiences ?? [];
  if (audiences.length > 0 && !audiences.some((audience) => valid.includes(audience))) {
    return { kind: 'refused', reason: `the token is not for ${audiences.join(' or ')}` };
  }
  return { kind: 'authenticated', user: { username, uid, groups, extra }, audiences: valid };
}

async function reviewAccess(
  transport: KubeTransport,
  { username, uid, groups, extra }: UserInfo,
  resourceAttributes: ResourceAttributes,
  options: RequestOptions | undefined,
): Promise<Authorization> {
  const body = {
    apiVersion: 'authorization.k8s.io/v1',
    kind: 'SubjectAccessReview',
    spec: { user: username, uid, groups, extra, resourceAttributes },
  };
  const answer = await transport.post('/apis/authorization.k8s.io/v1/subjectaccessreviews', body, options);
  const { allowed, reason, evaluationError } = statusOf('SubjectAccessReview', answer) as AccessReviewStatus;
  if (allowed === true) return { kind: 'allowed' };
  return { kind: 'denied', reason: [reason, evaluationError].filter((part) => part !== undefined && part !== '').join('; ') };
}

interface TokenReviewStatus {
  readonly authenticated?: boolean;
  readonly error?: string;
  readonly audiences?: readonly string[];
  readonly user?: Partial<UserInfo>;
}

interface AccessReviewStatus {
  readonly allowed?: boolean;
  readonly reason?: string;
  readonly evaluationError?: string;
}

function statusOf(kind: string, answer: unknown): object {
  const status = (answer as { readonly status?: unknown } | null)?.status;
  if (typeof status !== 'object' || status === null) throw new KubeError('Malformed', `${kind}: the answer has no status`);
  return status;
}

function hash(parts: readonly unknown[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64');
}
