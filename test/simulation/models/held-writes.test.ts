import { describe, expect, it } from '@jest/globals';
import { Process } from '../engine/process.ts';
import { Random } from '../engine/random.ts';
import { Scheduler } from '../engine/scheduler.ts';
import { ApiServer } from './api-client.ts';
import { ApiStore } from './api-store.ts';
import { installSchemas, sandboxes } from './objects.ts';

const ref = { namespace: 'n', name: 's' };

function aServer() {
  const scheduler = new Scheduler();
  const store = new ApiStore(
    () => '2026-01-01T00:00:00Z',
    () => 'uid-1',
  );
  installSchemas(store);
  store.create(sandboxes, { apiVersion: 'berth.dev/v1alpha1', kind: 'Sandbox', metadata: ref, spec: { image: 'i:1' } } as never, 'user');
  const server = new ApiServer(store, scheduler);
  const writer = (name: string) => server.clientFor(new Process(name, scheduler, new Random(name)));
  const status = (order: number, resourceVersion?: string) =>
    ({ type: 'merge', body: { ...(resourceVersion !== undefined && { metadata: { resourceVersion } }), status: { order } } }) as const;
  const said: string[] = [];
  const arm = (mostMs: number) =>
    server.heldWrites.arm({
      mostMs,
      began: ({ process, order }) => said.push(`${process.name} holds #${order}`),
      ended: ({ process, order }) => said.push(`${process.name} lets #${order} go`),
    });
  const stored = () => store.get(sandboxes, ref);
  return { scheduler, server, writer, status, arm, said, stored };
}

describe('HeldWrites', () => {
  it('lets a status wait until another has gone beyond it, and its sender time out', async () => {
    const { scheduler, writer, status, arm, said, stored } = aServer();
    arm(600_000);
    const version = stored().metadata.resourceVersion;
    const answers: string[] = [];
    const patch = (name: string, order: number, resourceVersion?: string) =>
      writer(name)
        .patch(sandboxes, ref, status(order, resourceVersion), { subresource: 'status' })
        .then(
          () => answers.push(`${name}: written`),
          (error: unknown) => answers.push(`${name}: ${String(error)}`),
        );
    void patch('late', 1, version);
    await scheduler.run(1_000);
    void patch('other', 1, version);
    await scheduler.run(2_000);
    expect(said).toEqual(['late holds #1']);
    void patch('other', 2);
    await scheduler.run(40_000);
    expect(said).toEqual(['late holds #1', 'late lets #1 go']);
    expect(stored()).toMatchObject({ status: { order: 2 } });
    expect(answers).toEqual(['other: written', 'other: written', expect.stringContaining('late: BerthError: PATCH sandboxes s: Timeout')]);
  });

  it('lets go what nobody overtakes when its time is over, and holds one write only', async () => {
    const { scheduler, writer, status, arm, said, stored } = aServer();
    arm(5_000);
    void writer('a')
      .patch(sandboxes, ref, status(3), { subresource: 'status' })
      .catch(() => undefined);
    await scheduler.run(1_000);
    expect(stored().status).toBeUndefined();
    await scheduler.run(6_000);
    expect(said).toEqual(['a holds #3', 'a lets #3 go']);
    expect(stored()).toMatchObject({ status: { order: 3 } });
    await finished(scheduler, writer('a').patch(sandboxes, ref, status(4), { subresource: 'status' }));
    expect(stored()).toMatchObject({ status: { order: 4 } });
  });

  it('lets everything go at once when all is healed', async () => {
    const { scheduler, server, writer, status, arm, stored } = aServer();
    arm(600_000);
    arm(600_000);
    void writer('a')
      .patch(sandboxes, ref, status(3), { subresource: 'status' })
      .catch(() => undefined);
    await scheduler.run(1_000);
    server.heldWrites.releaseAll();
    expect(stored()).toMatchObject({ status: { order: 3 } });
    void writer('a').patch(sandboxes, ref, status(4), { subresource: 'status' });
    await scheduler.run(2_000);
    expect(stored()).toMatchObject({ status: { order: 4 } });
  });
});

async function finished(scheduler: Scheduler, work: Promise<unknown>): Promise<void> {
  await Promise.all([work, scheduler.run(scheduler.now + 1_000)]);
}
