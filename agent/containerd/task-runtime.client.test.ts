import { describe, expect, it } from '@jest/globals';
import { setImmediate as turn } from 'node:timers/promises';
import { FakeClock } from '../../process/fake-clock.ts';
import { Cgroups } from './cgroups.client.ts';
import type { ContainerdConnection, Method } from './connection.client.ts';
import { ContainerdError, status } from './containerd-error.ts';
import { Freezes } from './freezes.client.ts';
import { ContainersService } from './gen/services/containers/v1/containers.ts';
import { TasksService } from './gen/services/tasks/v1/tasks.ts';
import { Status } from './gen/types/task/task.ts';
import type { OneShots } from './one-shots.client.ts';
import { ContainerdTasks } from './task-runtime.client.ts';

const ref = { containerID: 'box', execID: 'task' };
const command = { args: ['true'], env: [], workingDir: '', contentVersion: 1 };
const io = { stdin: '', stdout: '/out', stderr: '/err' };
const never = new AbortController().signal;

/** Processes over a containerd that begins each only when it is let, and what happened in its sequence. */
function aContainer() {
  const happened: string[] = [];
  const answers: (() => void)[] = [];
  const connection = {
    call: async <Req, Res>(method: Method<Req, Res>): Promise<Res> => {
      if (method.path === ContainersService.get.path) {
        const process = { args: [], cwd: '/', env: [], user: {} };
        return { container: { spec: { value: Buffer.from(JSON.stringify({ process })) } } } as Res;
      }
      const name = method.path.split('/').at(-1) ?? '';
      happened.push(`${name} begins`);
      await new Promise<void>((resolve) => answers.push(resolve));
      happened.push(`${name} ends`);
      return { pid: 1 } as Res;
    },
  } as unknown as ContainerdConnection;
  const freezes = new Freezes();
  const cgroups = new Cgroups({ parent: '/nowhere-at-all' });
  const tasks = new ContainerdTasks({ connection, cgroups, freezes, oneShots: {} as unknown as OneShots, clock: new FakeClock() });
  const thaw = Promise.withResolvers<undefined>();
  const freeze = () =>
    freezes.frozen('box', never, async () => {
      happened.push('paused');
      await thaw.promise;
      happened.push('resumed');
    });
  const answer = async () => {
    answers.shift()?.();
    await turn();
  };
  return { tasks, freeze, thaw: () => thaw.resolve(undefined), answer, happened };
}

describe('a process of a task and a pause of its sandbox', () => {
  it.each([
    { what: 'made', begin: (tasks: ContainerdTasks) => tasks.createCommand(ref, command, io), name: 'Exec' },
    { what: 'started', begin: (tasks: ContainerdTasks) => tasks.start(ref), name: 'Start' },
  ])('exclude each other: one that is being $what is waited for, and none is while the sandbox is paused', async ({ begin, name }) => {
    const { tasks, freeze, thaw, answer, happened } = aContainer();
    const first = begin(tasks);
    await turn();
    const frozen = freeze();
    await turn();
    expect(happened).toEqual([`${name} begins`]);
    await expect(begin(tasks)).rejects.toMatchObject({ code: 'SandboxPaused' });
    await answer();
    await first;
    expect(happened).toEqual([`${name} begins`, `${name} ends`, 'paused']);
    await expect(begin(tasks)).rejects.toMatchObject({ code: 'SandboxPaused' });
    thaw();
    await frozen;
    const second = begin(tasks);
    await turn();
    await answer();
    await second;
    expect(happened.slice(3)).toEqual(['resumed', `${name} begins`, `${name} ends`]);
  });

  it('in another sandbox have nothing to do with each other', async () => {
    const { tasks, freeze, thaw, answer, happened } = aContainer();
    const frozen = freeze();
    const other = tasks.start({ containerID: 'other', execID: 'task' });
    await turn();
    await answer();
    await other;
    expect(happened).toEqual(['paused', 'Start begins', 'Start ends']);
    thaw();
    await frozen;
  });
});

describe('a start that containerd refuses', () => {
  /** What comes of starting a process that is in a state then. */
  const startOf = (said: string, state: Status) => {
    const connection = {
      call: <Req, Res>(method: Method<Req, Res>, request: Req): Promise<Res> => {
        if (method.path === TasksService.start.path) return Promise.reject(new ContainerdError(method.path, status.unknown, said));
        const isMain = (request as { readonly execId: string }).execId === '';
        const process = { status: isMain ? Status.RUNNING : state, pid: 0, exitStatus: 3, exitedAt: new Date(5) };
        return Promise.resolve({ process } as Res);
      },
    } as unknown as ContainerdConnection;
    const cgroups = new Cgroups({ parent: '/nowhere-at-all' });
    const options = { connection, cgroups, freezes: new Freezes(), oneShots: {} as unknown as OneShots, clock: new FakeClock() };
    const tasks = new ContainerdTasks(options);
    return tasks.start(ref).then(
      () => 'started',
      (error: unknown) => (error as { readonly code: string }).code,
    );
  };

  it.each([
    { what: 'runs by now', said: 'cannot start a running process', state: Status.RUNNING },
    { what: 'has run and ended', said: 'cannot start a stopped process', state: Status.STOPPED },
    { what: 'ended between the refusal and the look', said: 'cannot start a running process', state: Status.STOPPED },
  ])('since an agent before this one has started it, and it $what, is no failure', async ({ said, state }) => {
    expect(await startOf(said, state)).toBe('started');
  });

  it('for another reason fails', async () => {
    expect(await startOf('OCI runtime exec failed: executable file `x` not found', Status.CREATED)).toBe('CommandNotFound');
    expect(await startOf('OCI runtime exec failed: something else', Status.STOPPED)).toBe('RuntimeFailed');
  });
});
