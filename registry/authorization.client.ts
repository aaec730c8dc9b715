import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Clock } from '../process/clock.ts';
import type { RegistryCredential } from '../process/registry-credential.ts';
import type { Challenge } from './challenge.ts';
import { RegistryError, refusal } from './errors.ts';
import type { RegistryHttp } from './http.client.ts';

/** What a request is to be allowed to do. */
export interface Purpose {
  /** Scheme and host of the registry. */
  readonly origin: string;
  readonly repository: string;
  readonly action: 'pull' | 'delete';
  readonly credential: RegistryCredential | undefined;
}

const maxAnswerBytes = 256 * 1024;
const maxKnown = 1_000;
/** What the specification of tokens says of an answer that says nothing. */
const defaultSeconds = 60;
/** A token is not used in its last seconds: it has a way to go. */
const marginMs = 5_000;

const answerSchema = z.object({
  token: z.string().min(1).optional(),
  access_token: z.string().min(1).optional(),
  expires_in: z.number().positive().optional(),
});

/** Answers what registries ask for, and remembers the answers: Basic, and Bearer tokens until they expire. */
export class Authorizer {
  readonly #http: RegistryHttp;
  readonly #clock: Clock;
  readonly #known = new Map<string, { readonly value: string; readonly until: number }>();

  constructor(http: RegistryHttp, clock: Clock) {
    this.#http = http;
    this.#clock = clock;
  }

  /** The Authorization header that was good for this before; undefined when none is known. */
  known(purpose: Purpose): string | undefined {
    const key = keyOf(purpose);
    const entry = this.#known.get(key);
    if (entry === undefined || this.#clock.monotonic() < entry.until) return entry?.value;
    this.#known.delete(key);
    return undefined;
  }

  forget(purpose: Purpose): void {
    this.#known.delete(keyOf(purpose));
  }

  /** The Authorization header for the challenges. @throws RegistryError `Unauthorized` when there is none, `Unavailable` when the token server gives no answer. */
  async answer(what: string, purpose: Purpose, challenges: readonly Challenge[], signal: AbortSignal): Promise<string> {
    const bearer = challenges.find((challenge) => challenge.kind === 'Bearer');
    const entry = bearer === undefined ? basic(what, purpose, challenges) : await this.#token(what, purpose, bearer, signal);
    const [oldest] = this.#known.keys();
    if (this.#known.size >= maxKnown && oldest !== undefined) this.#known.delete(oldest);
    this.#known.set(keyOf(purpose), entry);
    return entry.value;
  }

  async #token(what: string, purpose: Purpose, challenge: Challenge & { readonly kind: 'Bearer' }, signal: AbortSignal) {
    if (!URL.canParse(challenge.realm))
      throw new RegistryError('Unavailable', `${what}: the registry names no usable address for tokens: look at its configuration.`);
    const url = new URL(challenge.realm);
    if (challenge.service !== undefined) url.searchParams.set('service', challenge.service);
    url.searchParams.set('scope', challenge.scope ?? `repository:${purpose.repository}:${purpose.action}`);
    const asked = `${what}: the token of ${url.host}`;
    const authorization = purpose.credential && basicHeader(purpose.credential);
    const answer = await this.#http.send(url, {
      method: 'GET',
      what: asked,
      headers: { accept: 'application/json' },
      authorization,
      signal,
    });
    if (answer.status !== 200) {
      await answer.discard();
      throw refusal(asked, answer.status, undefined);
    }
    const token = tokenIn(await answer.read(maxAnswerBytes));
    if (token === undefined) throw new RegistryError('Unavailable', `${asked}: the answer has no token: look what serves this address.`);
    const lifeMs = token.seconds * 1000;
    return { value: `Bearer ${token.value}`, until: this.#clock.monotonic() + lifeMs - Math.min(marginMs, lifeMs / 2) };
  }
}

function basic(what: string, { credential }: Purpose, challenges: readonly Challenge[]) {
  if (credential === undefined)
    throw new RegistryError('Unauthorized', `${what}: the registry asks who it is, and there are no credentials for it: give some.`);
  if (challenges.length === 0)
    throw new RegistryError('Unauthorized', `${what}: the registry asks for neither Basic nor Bearer, and nothing else is spoken here.`);
  return { value: basicHeader(credential), until: Number.POSITIVE_INFINITY };
}

function basicHeader({ username, password }: RegistryCredential): string {
  return `Basic ${Buffer.from(`${username}:${password}`, 'utf8').toString('base64')}`;
}

function tokenIn(body: Buffer | undefined): { readonly value: string; readonly seconds: number } | undefined {
  const parsed = answerSchema.safeParse(jsonOf(body));
  const value = parsed.data?.token ?? parsed.data?.access_token;
  return value === undefined ? undefined : { value, seconds: parsed.data?.expires_in ?? defaultSeconds };
}

function jsonOf(body: Buffer | undefined): unknown {
  try {
    return JSON.parse(body?.toString('utf8') ?? '');
  } catch {
    return undefined;
  }
}

/** Different credentials have different tokens; of a password no more is kept than what tells it from another. */
function keyOf({ origin, repository, action, credential }: Purpose): string {
  const who =
    credential === undefined
      ? ''
      : createHash('sha256')
          .update(JSON.stringify([credential.username, credential.password]))
          .digest('hex');
  return JSON.stringify([origin, repository, action, who]);
}
