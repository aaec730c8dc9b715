import { TIME } from './bases.ts';
import { conditionRows, counterRow, identityRow, timeRow } from './field-rows.ts';
import { ABSENT, refusedRow, row, type Row } from './row.ts';

const unclaimed = { uid: 'a', epoch: 1, contentVersion: 1, state: 'Stopped', startTime: TIME };
const removal = { uid: 'a', epoch: 1, namespace: 'b', name: 'c', storeID: 'd', order: 1, startTime: TIME };
const unclaimedCopies = (count: number) => Array.from({ length: count }, (_, epoch) => ({ ...unclaimed, epoch }));
const removals = (count: number) => Array.from({ length: count }, (_, epoch) => ({ ...removal, epoch }));
const amounts = { cpu: '1', memory: '1Gi', disk: '1Gi' };

function amountRows(path: string): readonly Row[] {
  return [
    row(path, [amounts, ABSENT], ['much', 1]),
    row(`${path}.cpu`, ['0', 64, '7500m'], [ABSENT, '-1', '8 cores', 1.5]),
    row(`${path}.memory`, ['0', '16Gi', 17_179_869_184], [ABSENT, '-1', '16GiB']),
    row(`${path}.disk`, ['0', '2Ti', '1e12'], [ABSENT, '-1', '9Pi', 'much']),
  ];
}

export const runnerRows: readonly Row[] = [
  row('metadata.name', ['runner-1', 'node-1.example.com', 'a'.repeat(253)], ['Node 1', 'a'.repeat(254)]),
  row('spec', [{}, ABSENT], ['standard', 1]),
  row('spec.unschedulable', [true, false, ABSENT], ['true', 1]),
  refusedRow('spec.drain', { startedPolicy: 'Stop', deadlineSeconds: 60 }),
  row('spec.region', ['eu-1', ABSENT], ['', 'eu 1', 'a'.repeat(64), 1]),
  row('spec.runnerClassName', ['standard', ABSENT], ['', 'Large', 'a'.repeat(64), 1]),
  row('spec.maxStarted', [0, 35, 10_000, ABSENT], [-1, 10_001, 1.5, '35']),
  row('spec.taskSlots', [0, 4, 1000, ABSENT], [-1, 1001, 1.5, '4']),
  row('spec.taskSlotResources', [{}, ABSENT], ['small', 1]),
  row('spec.taskSlotResources.cpu', ['0', '100m', 1, ABSENT], ['-1', '1025', 'one']),
  row('spec.taskSlotResources.memory', ['0', '128Mi', 1024, ABSENT], ['-1', '17Ti', '128MB']),
  row('spec.fenced', [true, false, ABSENT], ['true', 1]),
  row('status', [{}, { startedSandboxes: 1 }], ['Ready', 1]),
  identityRow('status.storeID', 'optional'),
  counterRow('status.incarnation', 'optional'),
  identityRow('status.agentID', 'optional'),
  identityRow('status.bootID', 'optional'),
  row('status.version', ['0.1.0', ABSENT], ['a'.repeat(65), 1]),
  ...amountRows('status.capacity'),
  ...amountRows('status.allocated'),
  row('status.usage', [ABSENT], ['4Gi', 1]),
  row('status.usage.memory', ['4Gi', 0], [ABSENT, '-1', '2Pi', 'much']),
  row('status.usage.disk', ['4Gi', 0], [ABSENT, '-1', '9Pi', 'much']),
  counterRow('status.usage.pids'),
  counterRow('status.startedSandboxes', 'optional'),
  row('status.tasks', [ABSENT], ['1/4', 1]),
  counterRow('status.tasks.slots'),
  counterRow('status.tasks.used'),
  counterRow('status.tasks.queued'),
  row('status.tasks.summary', ['1/4'], [ABSENT, 'a'.repeat(33), 1]),
  row('status.connections', [ABSENT], ['3/3', 1]),
  counterRow('status.connections.connected'),
  counterRow('status.connections.known'),
  row('status.connections.summary', ['3/3'], [ABSENT, 'a'.repeat(33), 1]),
  row(
    'status.unclaimed[]',
    [[], [unclaimed, { ...unclaimed, epoch: 2 }], unclaimedCopies(1024), ABSENT],
    [[unclaimed, unclaimed], 'none', unclaimedCopies(1025)],
  ),
  identityRow('status.unclaimed[].uid'),
  counterRow('status.unclaimed[].epoch'),
  row('status.unclaimed[].namespace', ['default', ABSENT], ['a'.repeat(64), 1]),
  row('status.unclaimed[].name', ['gone', ABSENT], ['a'.repeat(254), 1]),
  counterRow('status.unclaimed[].contentVersion'),
  row('status.unclaimed[].state', ['Running', 'Stopped'], [ABSENT, 'Started', 1]),
  timeRow('status.unclaimed[].startTime'),
  row('status.removals[]', [[], [removal, { ...removal, epoch: 2 }], removals(2048), ABSENT], [[removal, removal], 'none', removals(2049)]),
  identityRow('status.removals[].uid'),
  counterRow('status.removals[].epoch'),
  row('status.removals[].namespace', ['default'], [ABSENT, 'a'.repeat(64), 1]),
  row('status.removals[].name', ['gone'], [ABSENT, 'a'.repeat(254), 1]),
  identityRow('status.removals[].storeID'),
  counterRow('status.removals[].order'),
  row('status.removals[].graceSeconds', [0, 3600, ABSENT], [-1, 3601, 1.5, '10']),
  timeRow('status.removals[].startTime'),
  ...conditionRows(257),
];
