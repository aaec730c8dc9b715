import { beforeEach, describe, expect, it } from '@jest/globals';
import { FakeClock } from '../../process/fake-clock.ts';
import { silentLogger } from '../../process/log.ts';
import { noMetrics } from '../../process/metrics.ts';
import type { RegistryCredential, RepositoryName } from '../../process/registry-credential.ts';
import { RegistryError } from '../../registry/errors.ts';
import type { ImageManifest } from '../../registry/manifest.ts';
import type { Access, VerifyOptions } from '../../registry/registry.client.ts';
import { aSandbox } from '../../test/builders/a-sandbox.ts';
import { subject } from '../../test/builders/a-world.ts';
import type { RegistryWork } from '../lifecycle/snapshot.ts';
import { RegistryWorker } from './controller.ts';

const digest = (n: number) => `sha256:${String(n).padStart(64, '0')}`;
const verify = (n = 1, depth: 'Meta' | 'Full' = 'Meta', host = 'r.test', contentVersion = 1): RegistryWork => ({
  kind: 'Verify',
  depth,
  repository: `${host}/berth/default.web`,
  digest: digest(n),
  contentVersion,
});
const remove = (n = 1): RegistryWork => ({ kind: 'Delete', repository: 'r.test/berth/default.web', digest: digest(n) });
const down = () => new RegistryError('Unavailable', 'it gives no answer', { mayPass: true, isOutage: true });

const manifest: ImageManifest = {
  digest: '',
  bytes: 100,
  config: { mediaType: '', digest: 'config', size: 5 },
  layers: [
    { mediaType: '', digest: 'layer', size: 20 },
    { mediaType: '', digest: 'layer', size: 20 },
  ],
  annotations: {},
};

/** A registry that answers when the test says so. */
class HeldRegistry {
  readonly asked: {
    readonly what: string;
    readonly credential: string | undefined;
    readonly annotations: VerifyOptions['annotations'];
    end(error?: Error): void;
  }[] = [];
  most = 0;
  #open = 0;

  readonly verify = ({ host }: RepositoryName, of: string, depth: string, access?: VerifyOptions) =>
    this.#hold(`${depth} ${host} ${of.slice(-2)}`, access);
  readonly delete = ({ host }: RepositoryName, of: string, access?: Access) => this.#hold(`Delete ${host} ${of.slice(-2)}`, access);

  readonly sweep = ({ host }: RepositoryName, tagPrefix: string, access?: Access) => this.#hold(`Sweep ${host} ${tagPrefix}`, access);

  get whats(): readonly string[] {
    return this.asked.map(({ what }) => what);
  }

  #hold(what: string, { credential, signal, annotations }: VerifyOptions = {}): Promise<never> {
    this.#open += 1;
    this.most = Math.max(this.most, this.#open);
    return new Promise<never>((resolve, reject) => {
      const end = (error?: Error) => {
        this.#open -= 1;
        if (error === undefined) (resolve as (value: unknown) => void)(manifest);
        else reject(error);
      };
      signal?.addEventListener('abort', () => end(signal.reason as Error), { once: true });
      this.asked.push({ what, credential: credential?.username, annotations, end });
    });
  }
}

let clock: FakeClock;
let registry: HeldRegistry;
let worker: RegistryWorker;
let woken: string[];
let ofSandbox: () => Promise<readonly RegistryCredential[]>;
let stop: AbortController;
let running: Promise<void>;

beforeEach(() => {
  clock = new FakeClock();
  registry = new HeldRegistry();
  woken = [];
  ofSandbox = () => Promise.resolve([]);
  worker = new RegistryWorker({
    registry: {
      repository: 'r.test/berth',
      client: registry,
      credentials: () => [{ host: 'r.test', username: 'operator', password: 'x' }],
    },
    ...{ clock, random: () => 0, log: silentLogger, metrics: noMetrics },
    credentialsOf: () => ofSandbox(),
    done: (key) => void woken.push(key),
  });
  stop = new AbortController();
  running = worker.run(stop.signal);
});

const sandbox = () => aSandbox().obj();
const begin = async (works: readonly RegistryWork[], of = sandbox()) => {
  worker.begin(of, works);
  await clock.run(0);
};
const end = async (index: number, error?: Error) => {
  registry.asked[index]?.end(error);
  await clock.run(0);
};
const results = (of = sandbox()) =>
  worker.resultsFor(of.metadata.uid).map(({ work, outcome, at }) => `${work.kind} ${subject(work)} ${outcome} at ${at}`);

describe('the same work', () => {
  it('is done once at a time, its result is kept and wakes the sandbox', async () => {
    await begin([verify(1), verify(1), verify(2)]);
    await begin([verify(1)]);
    expect(registry.whats).toEqual(['Meta r.test 01', 'Meta r.test 02']);
    expect(woken).toEqual([]);
    clock.advance(70);
    await end(1, new RegistryError('Corrupt', 'bad bytes'));
    await end(0);
    expect(results()).toEqual(['Verify 02 Corrupt at 70', 'Verify 01 Whole at 70']);
    expect(woken).toEqual(['default/box', 'default/box']);
    expect(worker.resultsFor(sandbox().metadata.uid).map(({ sizeBytes }) => sizeBytes)).toEqual([0, 25]);
    expect(worker.resultsFor(sandbox().metadata.uid)[0]?.message).toBe(`r.test/berth/default.web@${digest(2)}: bad bytes`);
  });

  it('finds a backup of this version of this very sandbox, or none', async () => {
    await begin([verify(1, 'Meta', 'r.test', 7)]);
    expect(registry.asked[0]?.annotations).toEqual({ 'berth.dev/uid': sandbox().metadata.uid, 'berth.dev/content-version': '7' });
  });

  it('is done again when it is asked for again, though not at once; the newest result counts', async () => {
    await begin([verify()]);
    await end(0);
    await begin([verify()]);
    expect(registry.asked).toHaveLength(1);
    await clock.run(1_000);
    await end(1, new RegistryError('NotFound', 'gone'));
    expect(results()).toEqual(['Verify 01 Missing at 1000']);
  });

  it('Meta and Full, and removing, are different works', async () => {
    await begin([verify(1, 'Meta'), verify(1, 'Full'), remove(1)]);
    expect(registry.whats).toEqual(['Meta r.test 01', 'Full r.test 01', 'Delete r.test 01']);
    await end(2);
    expect(results()).toEqual(['Delete 01 Deleted at 0']);
  });
});

it('eight quick works and two long ones are done together, and each that ends lets another begin', async () => {
  await begin(Array.from({ length: 12 }, (_, n) => verify(n)));
  await begin(Array.from({ length: 4 }, (_, n) => verify(n, 'Full')));
  expect(registry.asked).toHaveLength(10);
  for (let at = 0; at < registry.asked.length; at++) await end(at);
  expect([registry.asked.length, registry.most]).toEqual([16, 10]);
});

describe('while a registry does not answer', () => {
  it('one question at a time is asked there, after waits that grow, and who asks is told', async () => {
    await begin([verify(1)]);
    await end(0, down());
    await begin([verify(1), verify(2), verify(3)]);
    expect(results()).toEqual(['Verify 01 Unavailable at 0', 'Verify 02 Unavailable at 0', 'Verify 03 Unavailable at 0']);
    expect(registry.asked).toHaveLength(1);
    await clock.run(1_000);
    expect(registry.asked).toHaveLength(2);
    await end(1, down());
    await clock.run(1_999);
    expect(registry.asked).toHaveLength(2);
    await clock.run(1);
    expect(registry.asked).toHaveLength(3);
  });

  it('all that waits is done when it answers again', async () => {
    await begin([verify(1)]);
    await end(0, down());
    await begin([verify(1), verify(2), verify(3)]);
    await clock.run(1_000);
    await end(1);
    expect(registry.asked).toHaveLength(4);
    await end(2);
    await end(3);
    expect(results()).toEqual(['Verify 01 Whole at 1000', 'Verify 02 Whole at 1000', 'Verify 03 Whole at 1000']);
  });

  it('those that waited already are told so as well, once it is sure, and again when they ask again', async () => {
    await begin(Array.from({ length: 12 }, (_, n) => verify(n)));
    await end(0, down());
    expect(results()).toEqual(['Verify 00 Unavailable at 0']);
    await end(1, down());
    expect(results().slice(1)).toEqual(['08', '09', '10', '11', '01'].map((n) => `Verify ${n} Unavailable at 0`));
    clock.advance(4_999);
    await begin([verify(11)]);
    expect(results()).toContain('Verify 11 Unavailable at 0');
    clock.advance(1);
    await begin([verify(11)]);
    expect(results().at(-1)).toBe('Verify 11 Unavailable at 5000');
  });

  it('who has no answer and asks again is told so, also when nobody knows yet that it is down; of what reads every byte that is no sign', async () => {
    await begin([verify(1), verify(2, 'Full')]);
    clock.advance(4_999);
    await begin([verify(1), verify(2, 'Full')]);
    expect(results()).toEqual([]);
    clock.advance(1);
    await begin([verify(1), verify(2, 'Full')]);
    expect([results(), registry.asked.length]).toEqual([['Verify 01 Unavailable at 5000'], 2]);
    await end(0);
    expect(results()).toEqual(['Verify 01 Whole at 5000']);
  });

  it('a quick question does not wait for the end of one that reads every byte', async () => {
    await begin([verify(1, 'Full'), verify(2)]);
    await end(1, down());
    await begin([verify(2)]);
    await clock.run(1_000);
    expect(registry.whats).toEqual(['Full r.test 01', 'Meta r.test 02', 'Meta r.test 02']);
  });

  it('what it is told counts how often in a row it failed', async () => {
    const failures = () => worker.resultsFor(sandbox().metadata.uid).map((one) => one.failures);
    await begin([verify(1)]);
    await end(0, new RegistryError('NotFound', 'gone'));
    await begin([verify(1)]);
    await clock.run(1_000);
    await end(1, new RegistryError('NotFound', 'gone'));
    expect(failures()).toEqual([2]);
    await begin([verify(1)]);
    await clock.run(1_000);
    await end(2);
    expect(failures()).toEqual([0]);
  });

  it('other registries are asked as ever', async () => {
    await begin([verify(1)]);
    await end(0, down());
    await begin([verify(1, 'Meta', 'other.test')]);
    expect(registry.whats.at(-1)).toBe('Meta other.test 01');
  });

  it.each(['Unauthorized', 'Unavailable'] as const)('an answer that refuses one thing (%s) is an answer', async (code) => {
    await begin([verify(1)]);
    await end(0, new RegistryError(code, 'no'));
    await begin([verify(2)]);
    expect(registry.asked).toHaveLength(2);
    expect(results()).toEqual([`Verify 01 ${code} at 0`]);
  });
});

describe('removals', () => {
  it('two at a time, and no question waits for them', async () => {
    await begin(Array.from({ length: 5 }, (_, n) => remove(n)));
    await begin([verify(9)]);
    expect(registry.whats).toEqual(['Delete r.test 00', 'Delete r.test 01', 'Meta r.test 09']);
  });

  it('a registry that does none is not asked for each of them, and again an hour later', async () => {
    await begin([remove(1)]);
    await end(0, new RegistryError('Unsupported', 'it removes nothing'));
    await begin([remove(1), remove(2)]);
    expect([registry.asked.length, results()]).toEqual([1, ['Delete 01 Unsupported at 0', 'Delete 02 Unsupported at 0']]);
    await begin([verify(3)]);
    expect(registry.asked).toHaveLength(2);
    clock.advance(3_600_000);
    await begin([remove(2)]);
    expect(registry.whats.at(-1)).toBe('Delete r.test 02');
  });
});

describe('credentials', () => {
  it('are those of the sandbox, else those of the operator', async () => {
    await begin([verify(1)]);
    ofSandbox = () => Promise.resolve([{ host: 'r.test', username: 'team', password: 'y' }]);
    await begin([verify(2)]);
    expect(registry.asked.map(({ credential }) => credential)).toEqual(['operator', 'team']);
  });

  it('that can not be read make nobody think that the registry is down', async () => {
    ofSandbox = () => Promise.reject(new Error('the API server gives no answer'));
    await begin([verify(1)]);
    expect(results()).toEqual(['Verify 01 Unavailable at 0']);
    ofSandbox = () => Promise.resolve([]);
    await begin([verify(2)]);
    expect(registry.whats).toEqual(['Meta r.test 02']);
  });
});

it('of a deleted sandbox nothing is kept, whenever its work ends', async () => {
  await begin([verify(1), verify(2)]);
  await end(0);
  worker.forget(sandbox().metadata.uid);
  await end(1);
  expect([results(), woken]).toEqual([[], ['default/box']]);
});

it('a term that ends breaks off what is under way and begins nothing', async () => {
  await begin([verify(1)]);
  stop.abort();
  await running;
  await begin([verify(2)]);
  expect([registry.whats, results(), clock.timers]).toEqual([['Meta r.test 01'], [], 0]);
});
