import { z } from 'zod';
import {
  conditions,
  dnsLabel,
  identity,
  groupName,
  manifestMetadataSchema,
  objectMetadataSchema,
  objectName,
  quantity,
  resourceAmountsSchema,
} from './meta.ts';
import { API_GROUP_VERSION, DRAIN_STARTED_POLICIES, RUNNER_KIND } from './names.ts';
import { counter, mapList, refused, time, wholeNumber, type DeepReadonly, text } from './schema.ts';

/** A runner: a node with an agent. Its spec is the administrator's; the agent creates the object once and never writes the spec again. */

const MAX_CONNECTIONS = 256;
/** As many copies as a Runner can note for removal. */
export const MAX_REMOVALS = 2048;

export const runnerSpecSchema = z
  .object({
    unschedulable: z.boolean().default(false).describe('Cordons the runner: no sandbox is newly placed on it. Running ones stay.'),
    drain: refused(
      'spec.drain',
      z.object({
        startedPolicy: z.enum(DRAIN_STARTED_POLICIES).default('Wait').describe('Whether started sandboxes are waited for or stopped.'),
        deadlineSeconds: wholeNumber(0, 604_800).optional().describe('Seconds after which waiting sandboxes are stopped.'),
      }),
    ).describe('Moves the sandboxes away. Not supported yet.'),
    region: groupName('spec.region').optional().describe('Region of the runner, for spec.placement.region of sandboxes.'),
    runnerClassName: dnsLabel('spec.runnerClassName')
      .optional()
      .describe('Class of the runner, for spec.placement.runnerClassName of sandboxes.'),
    maxStarted: wholeNumber(0, 10_000)
      .default(35)
      .describe(
        'Started sandboxes above which a sandbox is started elsewhere if it can be: one that has no files yet, or that has a current backup.',
      ),
    taskSlots: wholeNumber(0, 1000)
      .default(4)
      .describe('How many tasks may run at once. taskSlotResources are set aside for each of them. 0 gives everything to sandboxes.'),
    taskSlotResources: z
      .object({
        cpu: quantity('spec.taskSlotResources.cpu', '0', '1024', '500m').default('100m').describe('Processor time of one slot.'),
        memory: quantity('spec.taskSlotResources.memory', '0', '16Ti', '512Mi').default('128Mi').describe('Memory of one slot.'),
      })
      .prefault({})
      .describe('What is set aside for each task slot and not given to sandboxes.'),
    fenced: z
      .boolean()
      .default(false)
      .describe(
        'The administrator asserts that the machine is off or was restarted: nothing runs on it any more. Nothing is started there until it is false again.',
      ),
  })
  .describe('Settings of the administrator.');

const unclaimedSchema = z.object({
  uid: identity().describe('uid of the Sandbox object that it was made for.'),
  epoch: counter().describe('The epoch of the copy.'),
  namespace: text(63).optional().describe('Namespace of that object.'),
  name: text(253).optional().describe('Name of that object.'),
  contentVersion: counter().describe('The version of its content.'),
  state: z.enum(['Running', 'Stopped']).describe('Whether it runs.'),
  startTime: time().describe('When it was first seen without an owner.'),
});

const removalSchema = z.object({
  uid: identity().describe('uid of the deleted Sandbox object.'),
  epoch: counter().describe('The epoch of the copy. Exactly this one is removed.'),
  namespace: text(63).describe('Namespace of the deleted object.'),
  name: text(253).describe('Name of the deleted object.'),
  storeID: identity().describe('The store that holds the copy.'),
  order: counter().describe('Number of the order to remove it.'),
  graceSeconds: wholeNumber(0, 3600)
    .default(10)
    .describe('The terminationGracePeriodSeconds of the deleted object, for a main program that still runs.'),
  startTime: time().describe('When the object was deleted.'),
});

export const runnerStatusSchema = z
  .object({
    storeID: identity().optional().describe("Names the runner's disk."),
    incarnation: counter().optional().describe('Rises with every start of the agent.'),
    agentID: identity().optional().describe('One start of the agent.'),
    bootID: identity().optional().describe('One boot of the machine.'),
    version: text(64).optional().describe('Version of the agent.'),
    capacity: resourceAmountsSchema('status.capacity').optional().describe('What the runner has for sandboxes and task slots.'),
    allocated: resourceAmountsSchema('status.allocated').optional().describe('What is given away.'),
    usage: z
      .object({
        memory: quantity('status.usage.memory', '0', '1Pi', '16Gi').describe('Memory, such as 16Gi.'),
        disk: quantity('status.usage.disk', '0', '8Pi', '200Gi').describe('Of the disk with the sandboxes, such as 200Gi.'),
        pids: counter().describe('Processes and threads.'),
      })
      .optional()
      .describe('What of the machine is in use, by whomever, in steps of a twentieth.'),
    startedSandboxes: counter().default(0).describe('Sandboxes that run.'),
    tasks: z
      .object({
        slots: counter().describe('Task slots.'),
        used: counter().describe('Slots in use by tasks, or reserved for one.'),
        queued: counter().describe('Tasks that wait for a slot.'),
        summary: text(32).describe('Used and all slots: 1/4.'),
      })
      .optional()
      .describe('Tasks.'),
    connections: z
      .object({
        connected: counter().describe('Operator pods that the agent is connected to.'),
        known: counter().describe('Operator pods that it knows.'),
        summary: text(32).describe('Connected and known: 3/3.'),
      })
      .optional()
      .describe('Connections to the operator pods.'),
    unclaimed: mapList(unclaimedSchema, ['uid', 'epoch'], 1024)
      .default([])
      .describe('Copies that no Sandbox claims, kept until somebody decides.'),
    removals: mapList(removalSchema, ['uid', 'epoch'], MAX_REMOVALS)
      .default([])
      .describe(
        'Copies of deleted Sandboxes that are to be removed when the runner, or the disk they lie on, is back. Written by the operator.',
      ),
    conditions: conditions(MAX_CONNECTIONS)
      .default([])
      .describe('Ready, Schedulable, DiskPressure, MemoryPressure, PIDPressure, and connection.berth.dev/<address> for each operator pod.'),
  })
  .describe('What was observed. Written by the agent; removals, Ready and Schedulable by the operator.');

const name = objectName('metadata.name');

/** A Runner as an agent or administrator creates it. Its name is the name of its node. */
export const runnerManifestSchema = z.object({
  apiVersion: z.literal(API_GROUP_VERSION),
  kind: z.literal(RUNNER_KIND.kind),
  metadata: manifestMetadataSchema.extend({ name: name.optional() }),
  spec: runnerSpecSchema.prefault({}),
  status: runnerStatusSchema.optional(),
});
export type RunnerManifest = DeepReadonly<z.input<typeof runnerManifestSchema>>;

/** A Runner as the API server stores it, with every default applied. */
export const runnerSchema = z.object({
  apiVersion: z.literal(API_GROUP_VERSION).default(API_GROUP_VERSION),
  kind: z.literal(RUNNER_KIND.kind).default(RUNNER_KIND.kind),
  metadata: objectMetadataSchema,
  spec: runnerSpecSchema.prefault({}),
  status: runnerStatusSchema.prefault({}),
});
export type Runner = DeepReadonly<z.output<typeof runnerSchema>>;
export type RunnerSpec = Runner['spec'];
export type RunnerStatus = Runner['status'];
export type UnclaimedCopy = RunnerStatus['unclaimed'][number];
export type Removal = RunnerStatus['removals'][number];
