import { createHash } from 'node:crypto';
import { z } from 'zod';
import { backoffDelay } from '../process/backoff.ts';
import { sleep } from '../process/clock.ts';
import type { Clock, Random } from '../process/clock.ts';
import type { RegistryCredential, RepositoryName } from '../process/registry-credential.ts';
import { Authorizer } from './authorization.client.ts';
import type { Purpose } from './authorization.client.ts';
import { parseChallenges } from './challenge.ts';
import { RegistryError, isRegistryError, refusal } from './errors.ts';
import { RegistryHttp } from './http.client.ts';
import type { HttpAnswer } from './http.client.ts';
import { blobsOf, hasAnnotations, manifestTypes, maxManifestBytes, parseManifest, requireAnnotations } from './manifest.ts';
import type { Descriptor, ImageManifest } from './manifest.ts';
import { apiHost, formatRepository } from './repository.ts';

export interface RegistryClientOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** `berth-operator/0.1.0` */
  readonly userAgent: string;
  /** PEM of authorities besides those that everybody trusts; asked at every request, so that it may change. */
  readonly ca?: () => Buffer | undefined;
  /** Hosts, with their port, that speak plain HTTP. This machine does so unless there is a `ca`. */
  readonly plainHttp?: readonly string[];
  readonly limits?: Partial<RegistryLimits>;
}

/** Times in milliseconds. */
export interface RegistryLimits {
  /** For a connection. Default 10,000. */
  readonly connectMs: number;
  /** Silence of the registry that ends a request. Default 30,000. */
  readonly quietMs: number;
  /** One question that moves no blob, with its repetitions. Default 60,000. */
  readonly callMs: number;
  /** The bytes of one blob, with their repetitions. Default 3,600,000. */
  readonly blobMs: number;
  /** Attempts at one question. Default 4. */
  readonly attempts: number;
}

/** Who asks, and how long it is of interest. */
export interface Access {
  readonly credential?: RegistryCredential | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface VerifyOptions extends Access {
  /** A manifest that says something else of itself is `Corrupt`. Default: whatever it says. */
  readonly annotations?: Readonly<Record<string, string>>;
}

/**
 * Asks registries of the OCI distribution specification. Every call rejects with a RegistryError, or with the reason of its signal; what may
 * pass is tried again until a deadline. Memory does not grow with the size of blobs.
 */
export interface RegistryClient {
  /** The digest that a tag names now. */
  resolve(repository: RepositoryName, tag: string, access?: Access): Promise<string>;
  /** The manifest, when its bytes hash to the digest. */
  manifest(repository: RepositoryName, digest: string, access?: Access): Promise<ImageManifest>;
  /** The bytes of a blob as they come. Rejects with `Corrupt` after the last one when they are not those of the digest. One attempt. */
  blob(repository: RepositoryName, blob: Pick<Descriptor, 'digest' | 'size'>, access?: Access): AsyncIterable<Uint8Array>;
  /** Meta: the manifest's bytes hash to the digest, it has these annotations, and every blob has its size. Full: every byte was read and hashed, too. */
  verify(repository: RepositoryName, digest: string, depth: 'Meta' | 'Full', options?: VerifyOptions): Promise<ImageManifest>;
  /** Removes the manifest. Gone: it was not there any more. */
  delete(repository: RepositoryName, digest: string, access?: Access): Promise<'Deleted' | 'Gone'>;
  /** Removes every manifest that a tag with this prefix names, and that has these annotations. Returns their digests; a repository that is not there has none. */
  sweep(repository: RepositoryName, tagPrefix: string, options?: VerifyOptions): Promise<readonly string[]>;
  /** Breaks off what is under way. */
  close(): Promise<void>;
}

export function createRegistryClient(options: RegistryClientOptions): RegistryClient {
  return new DistributionClient(options);
}

const defaultLimits: RegistryLimits = { connectMs: 10_000, quietMs: 30_000, callMs: 60_000, blobMs: 3_600_000, attempts: 4 };
const backoff = { initialMs: 200, maxMs: 5_000, jitter: 0.5 };
const maxRefusalBytes = 64 * 1024;
/** Blobs that are asked for, and read, at the same time. */
const together = { Meta: 4, Full: 3 } as const;

/** Tags in one answer, and answers that are read. */
const tagsAtOnce = 1_000;
const maxTagPages = 1_000;

interface TagPage {
  readonly tags: readonly string[];
  /** The query that asks for those after them. */
  readonly next: string | undefined;
}

interface Question {
  readonly method: 'GET' | 'HEAD' | 'DELETE';
  readonly what: string;
  readonly in: RepositoryName;
  /** Below `/v2/<repository>/`. */
  readonly path: string;
  readonly accept?: string;
  readonly credential: RegistryCredential | undefined;
}

/** `reference`: a tag or a digest. */
function manifestQuestion(what: string, repository: RepositoryName, reference: string, credential: Question['credential']): Question {
  return { method: 'GET', what, in: repository, path: `manifests/${reference}`, accept: manifestTypes.join(', '), credential };
}

class DistributionClient implements RegistryClient {
  readonly #options: RegistryClientOptions;
  readonly #limits: RegistryLimits;
  readonly #http: RegistryHttp;
  readonly #authorizer: Authorizer;

  constructor(options: RegistryClientOptions) {
    const { userAgent, ca, plainHttp = [], clock } = options;
    this.#options = options;
    this.#limits = { ...defaultLimits, ...options.limits };
    this.#http = new RegistryHttp({ userAgent, ca, plainHttp, connectMs: this.#limits.connectMs, quietMs: this.#limits.quietMs });
    this.#authorizer = new Authorizer(this.#http, clock);
  }

  close(): Promise<void> {
    return this.#http.close();
  }

  resolve(repository: RepositoryName, tag: string, { credential, signal }: Access = {}): Promise<string> {
    const what = `${formatRepository(repository)}:${tag}`;
    const question = manifestQuestion(what, repository, tag, credential);
    return this.#persistently(what, this.#limits.callMs, signal, async (limit) => digestOf(await this.#manifestBytes(question, limit)));
  }

  manifest(repository: RepositoryName, digest: string, { credential, signal }: Access = {}): Promise<ImageManifest> {
    const what = `${formatRepository(repository)}@${digest}`;
    const question = manifestQuestion(what, repository, digest, credential);
    return this.#persistently(what, this.#limits.callMs, signal, async (limit) => {
      const bytes = await this.#manifestBytes(question, limit);
      if (digestOf(bytes) !== digest)
        throw new RegistryError('Corrupt', `${what}: the bytes of the manifest are not those of its digest: do not use it.`);
      return parseManifest(what, digest, bytes);
    });
  }

  async *blob(repository: RepositoryName, { digest, size }: Pick<Descriptor, 'digest' | 'size'>, { credential, signal }: Access = {}) {
    const what = `${formatRepository(repository)}@${digest}`;
    const question: Question = { method: 'GET', what, in: repository, path: `blobs/${digest}`, credential };
    const answer = await this.#ask(question, signal ?? new AbortController().signal);
    if (answer.status !== 200) throw await refused(what, answer);
    const hash = createHash('sha256');
    let seen = 0;
    for await (const chunk of answer.chunks()) {
      seen += chunk.length;
      if (seen > size)
        throw new RegistryError('Corrupt', `${what}: the blob is longer than the ${size} bytes that it should have: do not use it.`);
      hash.update(chunk);
      yield chunk;
    }
    if (seen !== size) throw new RegistryError('Corrupt', `${what}: the blob has ${seen} bytes and should have ${size}: do not use it.`);
    if (`sha256:${hash.digest('hex')}` !== digest)
      throw new RegistryError('Corrupt', `${what}: the bytes of the blob are not those of its digest: do not use it.`);
  }

  async verify(
    repository: RepositoryName,
    digest: string,
    depth: 'Meta' | 'Full',
    { credential, signal, annotations = {} }: VerifyOptions = {},
  ): Promise<ImageManifest> {
    const what = `${formatRepository(repository)}@${digest}`;
    const manifest = await this.manifest(repository, digest, { credential, signal });
    requireAnnotations(what, manifest, annotations);
    const blobs = blobsOf(what, manifest);
    const others = new AbortController();
    const either = signal === undefined ? others.signal : AbortSignal.any([signal, others.signal]);
    const waiting = [...blobs];
    const work = async () => {
      for (let blob = waiting.shift(); blob !== undefined; blob = waiting.shift()) {
        const access = { credential, signal: either };
        await (depth === 'Full' ? this.#readBack(repository, blob, access) : this.#measure(repository, blob, access));
      }
    };
    try {
      await Promise.all(Array.from({ length: Math.min(blobs.length, together[depth]) }, work));
    } finally {
      others.abort(new RegistryError('Unavailable', 'Another blob of the same manifest was refused.'));
    }
    return manifest;
  }

  delete(repository: RepositoryName, digest: string, { credential, signal }: Access = {}): Promise<'Deleted' | 'Gone'> {
    const what = `DELETE ${formatRepository(repository)}@${digest}`;
    const question: Question = { method: 'DELETE', what, in: repository, path: `manifests/${digest}`, credential };
    return this.#persistently(what, this.#limits.callMs, signal, async (limit) => {
      const answer = await this.#ask(question, limit);
      if (answer.status < 200 || answer.status >= 300) {
        const error = await refused(what, answer);
        if (error.code === 'NotFound') return 'Gone';
        throw error;
      }
      await answer.discard();
      return 'Deleted';
    });
  }

  async sweep(
    repository: RepositoryName,
    tagPrefix: string,
    { annotations = {}, ...access }: VerifyOptions = {},
  ): Promise<readonly string[]> {
    const digests = new Set<string>();
    for (const tag of await this.#tags(repository, access)) {
      if (!tag.startsWith(tagPrefix)) continue;
      const manifest = await this.#tagged(repository, tag, access);
      if (manifest !== undefined && hasAnnotations(manifest, annotations)) digests.add(manifest.digest);
    }
    for (const digest of digests) await this.delete(repository, digest, access);
    return [...digests];
  }

  /** All tags of a repository; one that is not there has none. */
  async #tags(repository: RepositoryName, { credential, signal }: Access): Promise<readonly string[]> {
    const what = `tags of ${formatRepository(repository)}`;
    const tags: string[] = [];
    const asked = new Set<string>();
    for (let query: string | undefined = `?n=${tagsAtOnce}`; query !== undefined;) {
      if (asked.has(query) || asked.size >= maxTagPages)
        throw new RegistryError('Unavailable', `${what}: the registry lists tags without end: look what serves this address.`);
      asked.add(query);
      const question: Question = { method: 'GET', what, in: repository, path: `tags/list${query}`, credential };
      const page = await this.#persistently(what, this.#limits.callMs, signal, async (limit): Promise<TagPage> => {
        const answer = await this.#ask(question, limit);
        if (answer.status === 404 && asked.size === 1) {
          await answer.discard();
          return { tags: [], next: undefined };
        }
        if (answer.status !== 200) throw await refused(what, answer);
        return { tags: tagsIn(what, await answer.read(maxManifestBytes)), next: nextPage(answer.header('link')) };
      });
      tags.push(...page.tags);
      query = page.next;
    }
    return tags;
  }

  /** The manifest that a tag names; undefined when it names none, or what is no image manifest. */
  async #tagged(repository: RepositoryName, tag: string, { credential, signal }: Access): Promise<ImageManifest | undefined> {
    const what = `${formatRepository(repository)}:${tag}`;
    const question = manifestQuestion(what, repository, tag, credential);
    try {
      return await this.#persistently(what, this.#limits.callMs, signal, async (limit) => {
        const bytes = await this.#manifestBytes(question, limit);
        return parseManifest(what, digestOf(bytes), bytes);
      });
    } catch (error) {
      if (isRegistryError(error, 'NotFound') || isRegistryError(error, 'Corrupt')) return undefined;
      throw error;
    }
  }

  /** The blob has its size, as the registry says; one that does not say is read. */
  async #measure(repository: RepositoryName, blob: Descriptor, access: Access): Promise<void> {
    const what = `${formatRepository(repository)}@${blob.digest}`;
    const question: Question = { method: 'HEAD', what, in: repository, path: `blobs/${blob.digest}`, credential: access.credential };
    const size = await this.#persistently(what, this.#limits.callMs, access.signal, async (limit) => {
      const answer = await this.#ask(question, limit);
      await answer.discard();
      // The answer to HEAD has no body that could tell a missing blob from a wrong address.
      if (answer.status === 404) return 'Ask';
      if (answer.status !== 200) throw refusal(what, answer.status, undefined, retryAfter(answer));
      return /^\d+$/.test(answer.header('content-length') ?? '') ? Number(answer.header('content-length')) : 'Ask';
    });
    if (size === 'Ask') return this.#readBack(repository, blob, access);
    if (size !== blob.size)
      throw new RegistryError('Corrupt', `${what}: the blob has ${size} bytes and should have ${blob.size}: do not use it.`);
  }

  #readBack(repository: RepositoryName, blob: Descriptor, { credential, signal }: Access): Promise<void> {
    const what = `${formatRepository(repository)}@${blob.digest}`;
    return this.#persistently(what, this.#limits.blobMs, signal, async (limit) => {
      const bytes = this.blob(repository, blob, { credential, signal: limit })[Symbol.asyncIterator]();
      while ((await bytes.next()).done !== true);
    });
  }

  async #manifestBytes(question: Question, signal: AbortSignal): Promise<Buffer> {
    const answer = await this.#ask(question, signal);
    if (answer.status !== 200) throw await refused(question.what, answer);
    const bytes = await answer.read(maxManifestBytes);
    if (bytes === undefined)
      throw new RegistryError('Corrupt', `${question.what}: the manifest has more than ${maxManifestBytes} bytes: do not use it.`);
    return bytes;
  }

  /** One request; a challenge is answered once. */
  async #ask({ method, what, in: repository, path, accept, credential }: Question, signal: AbortSignal): Promise<HttpAnswer> {
    const origin = this.#http.originOf(apiHost(repository));
    const url = new URL(`${origin}/v2/${repository.repository}/${path}`);
    const purpose: Purpose = { origin, repository: repository.repository, action: method === 'DELETE' ? 'delete' : 'pull', credential };
    const send = (authorization: string | undefined) =>
      this.#http.send(url, { method, what, headers: accept === undefined ? {} : { accept }, authorization, signal });
    const first = await send(this.#authorizer.known(purpose));
    if (first.status !== 401 || first.isRedirected) return first;
    await first.discard();
    this.#authorizer.forget(purpose);
    const second = await send(await this.#authorizer.answer(what, purpose, parseChallenges(first.header('www-authenticate')), signal));
    if (second.status === 401) this.#authorizer.forget(purpose);
    return second;
  }

  /** Under one deadline, again after what may pass. */
  async #persistently<T>(
    what: string,
    deadlineMs: number,
    signal: AbortSignal | undefined,
    attempt: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const { clock } = this.#options;
    const deadline = new AbortController();
    const over = new RegistryError('Unavailable', `${what}: the registry was not done within ${deadlineMs} ms.`, { isOutage: true });
    const timer = clock.after(deadlineMs, () => deadline.abort(over));
    const either = signal === undefined ? deadline.signal : AbortSignal.any([signal, deadline.signal]);
    try {
      return await this.#again(either, attempt);
    } finally {
      timer.cancel();
    }
  }

  async #again<T>(signal: AbortSignal, attempt: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { clock, random } = this.#options;
    for (let number = 1; ; number++) {
      try {
        return await attempt(signal);
      } catch (error) {
        signal.throwIfAborted();
        if (!isRegistryError(error, 'Unavailable') || !error.mayPass || number >= this.#limits.attempts) throw error;
        await sleep(clock, Math.max(error.retryAfterMs ?? 0, backoffDelay(backoff, number, random)), signal);
      }
    }
  }
}

async function refused(what: string, answer: HttpAnswer): Promise<RegistryError> {
  const body = await answer.read(maxRefusalBytes);
  // What a registry's store lacks is told by the store, and not in the registry's form.
  const code = answer.status === 404 && answer.isRedirected ? 'BLOB_UNKNOWN' : errorCodeIn(body);
  return refusal(what, answer.status, code, retryAfter(answer));
}

/** The first code of a body in the form of the specification. It is shown: nothing else than such a word may stand in it. */
function errorCodeIn(body: Buffer | undefined): string | undefined {
  try {
    const { errors } = JSON.parse(body?.toString('utf8') ?? '') as { readonly errors?: readonly { readonly code?: unknown }[] };
    const code = errors?.[0]?.code;
    return typeof code === 'string' && /^[A-Z][A-Z0-9_]{0,63}$/.test(code) ? code : undefined;
  } catch {
    return undefined;
  }
}

const tagList = z.object({ tags: z.array(z.string()).nullish() });

function tagsIn(what: string, body: Buffer | undefined): readonly string[] {
  try {
    return tagList.parse(JSON.parse(body?.toString('utf8') ?? '')).tags ?? [];
  } catch (cause) {
    throw new RegistryError('Unavailable', `${what}: this is no list of tags: look what serves this address.`, { cause });
  }
}

/** The query of the page that a `Link: <...>; rel="next"` names, relative or absolute. */
function nextPage(link: string | undefined): string | undefined {
  const [, target] = /<([^>]*)>(?:\s*;[^,<]*)?;\s*rel\s*=\s*"?next"?/i.exec(link ?? '') ?? [];
  return target === undefined || !URL.canParse(target, 'http://any') ? undefined : new URL(target, 'http://any').search;
}

function retryAfter(answer: HttpAnswer): number | undefined {
  const header = answer.header('retry-after')?.trim() ?? '';
  return /^\d{1,6}$/.test(header) ? Number(header) * 1000 : undefined;
}

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
