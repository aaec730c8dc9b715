import { describe, expect, it } from '@jest/globals';
import { setImmediate as turn } from 'node:timers/promises';
import { FakeClock } from '../../process/fake-clock.ts';
import { Cgroups } from './cgroups.client.ts';
import type { ContainerdConnection, Method } from './connection.client.ts';
import { ContainerdError, status } from './containerd-error.ts';
import { Freezes } from './freezes.client.ts';
import { ContainersService } from './gen/services/containers/v1/containers.ts';
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

describe('a process of which nobody knows whether it was started', () => {
  /** A containerd that answers Start, and then DeleteProcess, so; and what it was asked. */
  const aContainerd = (answers: {
    readonly start?: ContainerdError;
    readonly withdrawn: ContainerdError | number;
    readonly state?: Status;
  }) => {
    const asked: string[] = [];
    const starts = [answers.start];
    const { withdrawn, state = Status.CREATED } = answers;
    const answer = (name: string, execID: string): object => {
      if (name === 'Get')
        return { process: { status: execID === '' ? Status.RUNNING : state, pid: 0, exitStatus: 0, exitedAt: undefined } };
      asked.push(name);
      if (name === 'DeleteProcess' && withdrawn instanceof ContainerdError) throw withdrawn;
      if (name === 'DeleteProcess') return { pid: withdrawn, exitStatus: 3, exitedAt: new Date(5) };
      const refused = name === 'Start' ? starts.shift() : undefined;
      if (refused !== undefined) throw refused;
      return { pid: 1 };
    };
    const connection = {
      call: async <Req, Res>(method: Method<Req, Res>, request: Req): Promise<Res> => {
        await turn();
        if (method.path === ContainersService.get.path) {
          const process = { args: [], cwd: '/', env: [], user: {} };
          return { container: { spec: { value: Buffer.from(JSON.stringify({ process })) } } } as Res;
        }
        return answer(method.path.split('/').at(-1) ?? '', (request as { readonly execId: string }).execId) as Res;
      },
    } as unknown as ContainerdConnection;
    const cgroups = new Cgroups({ parent: '/nowhere-at-all' });
    const options = { connection, cgroups, freezes: new Freezes(), oneShots: {} as unknown as OneShots, clock: new FakeClock() };
    return { tasks: new ContainerdTasks(options), asked };
  };
  const failed = (said: string, code: number = status.unknown) => new ContainerdError('/x', code, said);

  it.each([
    { what: 'never ran', withdrawn: 0, found: { kind: 'None', exit: undefined } },
    { what: 'has ended', withdrawn: 7, found: { kind: 'Stopped', exit: { status: 3, finishMs: 5 } } },
    { what: 'is not there', withdrawn: failed('not found', status.notFound), found: { kind: 'None', exit: undefined } },
    {
      ...{ what: 'runs', withdrawn: failed('cannot delete a running process'), state: Status.RUNNING },
      found: { kind: 'Running', exit: undefined },
    },
  ])('that $what is told so when it is taken back, and not started', async ({ found, ...answers }) => {
    const { tasks, asked } = aContainerd(answers);
    expect(await tasks.withdraw(ref)).toEqual(found);
    expect(asked).toEqual(['DeleteProcess']);
  });

  it('and that can not be taken back rejects', async () => {
    await expect(aContainerd({ withdrawn: failed('away', status.unavailable) }).tasks.withdraw(ref)).rejects.toThrow('away');
  });

  it('is made anew before it is started again: a second start of one that failed ends the shim', async () => {
    const { tasks, asked } = aContainerd({ start: failed('lost', status.unavailable), withdrawn: 0 });
    await tasks.createCommand(ref, command, io);
    await tasks.start(ref);
    expect(asked).toEqual(['Exec', 'Start', 'DeleteProcess', 'Exec', 'Start']);
  });

  it('is not started again when it has run', async () => {
    const { tasks, asked } = aContainerd({ start: failed('lost', status.unavailable), withdrawn: 7 });
    await tasks.createCommand(ref, command, io);
    await expect(tasks.start(ref)).rejects.toThrow('lost');
    expect(asked).toEqual(['Exec', 'Start', 'DeleteProcess']);
  });

  it('is not started again when it runs', async () => {
    const { tasks, asked } = aContainerd({
      start: failed('lost', status.unavailable),
      withdrawn: failed('cannot delete'),
      state: Status.RUNNING,
    });
    await tasks.createCommand(ref, command, io);
    await tasks.start(ref);
    expect(asked).toEqual(['Exec', 'Start']);
  });
});
