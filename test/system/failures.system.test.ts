import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Sandbox, SandboxManifest } from '../../crds/sandbox.ts';
import type { Registry } from '../harness/registry.ts';
import { secretMarker } from '../harness/secret-marker.ts';
import { aSandbox, after } from './a-sandbox.ts';
import { eventually } from './eventually.ts';
import { containerOf, lyingOn, nothing } from './lying-on.ts';
import { isObserved, stateOf } from './user.ts';
import { pullSecret, startTimeoutMs, World } from './world.ts';
import { demoImage, pushImage } from '../harness/images.ts';

const rightPassword = `${secretMarker}right`;
/** A message for a person: one sentence in one line. */
const sentence = /^[A-Z"'][^\n]*\.$/;

describe('what goes wrong with a sandbox', () => {
  let world: World;
  let guarded: Registry;
  beforeAll(async () => {
    world = await World.start();
    guarded = await world.cluster.addRegistry('guarded', { credentials: { username: 'puller', password: rightPassword } });
    await pushImage(guarded, 'private:1', await demoImage());
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  const failed = (name: string, reason: string) =>
    world.user.until({ name }, `is in Error for ${reason}`, (sandbox) => stateOf(sandbox) === 'Error' && sandbox.status.reason === reason);

  interface Failure {
    readonly cause: string;
    readonly reason: string;
    readonly names: () => RegExp;
    readonly spec: () => SandboxManifest['spec'];
    readonly before?: () => Promise<void>;
    readonly correct: (ref: { name: string }) => Promise<void>;
  }
  const failures: readonly Failure[] = [
    {
      cause: 'the image does not exist',
      reason: 'ImageNotFound',
      names: () => /later:1/,
      spec: () => ({ image: `${world.cluster.registry.address}/later:1` }),
      correct: async () => {
        await world.cluster.pushImage('later:1', await demoImage());
      },
    },
    {
      cause: 'the registry wants credentials and there are none',
      reason: 'ImageUnauthorized',
      names: () => /private:1/,
      spec: () => ({ image: `${guarded.address}/private:1` }),
      before: async () => {
        await world.user.apply(pullSecret('good', `${guarded.address}/private`, { username: 'puller', password: rightPassword }));
      },
      correct: (ref) => world.user.patch(ref, { imagePullSecrets: [{ name: 'good' }] }),
    },
    {
      cause: 'the password is wrong',
      reason: 'ImageUnauthorized',
      names: () => /private:1/,
      spec: () => ({ image: `${guarded.address}/private:1`, imagePullPolicy: 'Always', imagePullSecrets: [{ name: 'changing' }] }),
      before: async () => {
        await world.user.apply(pullSecret('changing', guarded.address, { username: 'puller', password: `${secretMarker}wrong` }));
      },
      correct: async () => {
        await world.user.apply(pullSecret('changing', guarded.address, { username: 'puller', password: rightPassword }));
      },
    },
    {
      cause: 'the Secret with the credentials does not exist',
      reason: 'ImagePullSecretNotFound',
      names: () => /absent/,
      spec: () => ({ image: `${guarded.address}/private:1`, imagePullSecrets: [{ name: 'absent' }] }),
      correct: async () => {
        await world.user.apply(pullSecret('absent', guarded.address, { username: 'puller', password: rightPassword }));
      },
    },
    {
      cause: 'the command does not exist',
      reason: 'CommandNotFound',
      names: () => /no-such-program/,
      spec: () => ({ image: world.image, command: ['no-such-program', '--flag'] }),
      correct: (ref) => world.user.patch(ref, { command: after('true') }),
    },
    {
      cause: 'the command can not be executed',
      reason: 'CommandNotExecutable',
      names: () => /\/etc\/passwd/,
      spec: () => ({ image: world.image, command: ['/etc/passwd'] }),
      correct: (ref) => world.user.patch(ref, { command: after('true') }),
    },
  ];

  it.each(failures.map((failure, index) => ({ ...failure, name: `wrong-${index}` })))(
    'says in one sentence that $cause, and starts when it is corrected',
    async ({ name, reason, names, spec, before, correct }) => {
      await before?.();
      await world.user.create(aSandbox(name, spec()));
      const { status } = await failed(name, reason);
      expect(status.message).toMatch(sentence);
      expect(status.message).toMatch(names());
      await eventually('kubectl describe tells of it', async () =>
        (await world.user.kubectl('describe', 'sandbox', name)).includes(reason) ? true : undefined,
      );
      await correct({ name });
      await world.user.untilState({ name }, 'Started');
      const { metadata } = await world.user.sandbox({ name });
      await world.user.delete({ name });
      for (const runner of world.cluster.runners) expect(await lyingOn(runner, metadata.uid)).toEqual(nothing);
    },
  );

  it('says that a sandbox ran out of memory at its start, and starts it with more', async () => {
    const ref = { name: 'hungry' };
    const holdsTwelveMebibytes = after('head -c 12582912 /dev/zero | tail >/dev/null; [ $? = 0 ] || exit 137');
    await world.user.create(
      aSandbox(ref.name, {
        image: world.image,
        command: holdsTwelveMebibytes,
        resources: { limits: { memory: '8Mi' } },
        restartPolicy: 'OnFailure',
      }),
    );
    const { status } = await world.user.until(
      ref,
      'ran out of memory',
      ({ status: { reason } }) => reason === 'OOMKilled' || reason === 'OutOfMemoryAtStart' || reason === 'RestartBackOff',
    );
    expect(status.message).toMatch(/memory/);
    await world.user.patch(ref, { resources: { limits: { memory: '128Mi' } } });
    await world.user.untilState(ref, 'Started');
    await world.user.delete(ref);
  });

  interface Ending {
    readonly how: string;
    readonly spec: Partial<SandboxManifest['spec']>;
    readonly kill?: 'SIGKILL';
    readonly want: Partial<Sandbox['status']>;
  }
  const endings: readonly Ending[] = [
    {
      how: 'with another exit code than 0',
      spec: { command: ['sh', '-c', 'exit 7'], restartPolicy: 'Never' },
      want: { reason: 'ExitedWithError', exitReason: 'Error', exitCode: 7 },
    },
    {
      how: 'with exit code 0 under restartPolicy OnFailure',
      spec: { command: ['sh', '-c', 'exit 0'], restartPolicy: 'OnFailure' },
      want: { reason: 'Completed', exitReason: 'Completed', exitCode: 0 },
    },
    {
      how: 'by a signal from outside',
      spec: { restartPolicy: 'Never' },
      kill: 'SIGKILL',
      want: { reason: 'Signaled', exitReason: 'Signaled', exitCode: 137 },
    },
    {
      how: 'by the memory limit',
      spec: { command: ['tail', '/dev/zero'], restartPolicy: 'Never', resources: { limits: { memory: '16Mi' } } },
      want: { reason: 'OOMKilled', exitReason: 'OOMKilled', exitCode: 137 },
    },
  ];

  it.each(endings.map((ending, index) => ({ ...ending, name: `ending-${index}` })))(
    'reports reason and code when the main program ends $how',
    async ({ name, spec, kill, want }) => {
      await world.user.create(aSandbox(name, { image: world.image, ...spec }));
      if (kill !== undefined) {
        const { metadata, status } = await world.user.untilState({ name }, 'Started');
        const runner = world.runnerOf({ status });
        const { namespace, id } = await containerOf(runner, metadata.uid);
        await runner.ctr(namespace, 'tasks', 'kill', '-s', kill, id);
      }
      const ended = await world.user.until({ name }, 'is Stopped', (sandbox) => stateOf(sandbox) === 'Stopped' && isObserved(sandbox));
      expect(ended.status).toMatchObject({ ...want, restartCount: 0 });
      expect(ended.status.message).toMatch(sentence);
      await world.user.told(ended, want.reason ?? '');
      await world.user.delete({ name });
    },
  );

  it('starts a program that keeps ending again and again, waits longer each time, and says so', async () => {
    const ref = { name: 'restless' };
    await world.user.create(aSandbox(ref.name, { image: world.image, command: ['sh', '-c', 'exit 3'] }));
    const waiting = await world.user.until(
      ref,
      'backs off after some restarts',
      ({ status }) => status.restartCount >= 3 && status.reason === 'RestartBackOff',
    );
    expect(waiting.status).toMatchObject({ exitCode: 3, exitReason: 'Error' });
    expect(waiting.status.message).toMatch(sentence);
    expect(waiting.status.transition?.retryTime).toMatch(/^\d{4}-/);
    expect(waiting.status.conditions.find(({ type }) => type === 'Ready')).toMatchObject({ status: 'False' });
    await world.user.patch(ref, { command: after('true') });
    await world.user.untilState(ref, 'Started');
    await world.user.delete(ref);
  });
});
