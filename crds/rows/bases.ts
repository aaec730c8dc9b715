/** Objects with every supported field set, in which the rows set one field at a time. */

export const DIGEST = `sha256:${'0123456789abcdef'.repeat(4)}`;
export const OTHER_DIGEST = `sha256:${'f'.repeat(64)}`;
export const TIME = '2026-01-31T12:00:00Z';
const STORE = '6d7fd0f4-6c2e-4a53-9d5c-6d6f2f1c7a10';
const BOOT = '0b8f7c9e-2f64-4a0e-8f2e-94b8b8d0a9e1';

const condition = {
  type: 'Ready',
  status: 'True',
  reason: 'Started',
  message: 'The main program runs.',
  lastTransitionTime: TIME,
  observedGeneration: 2,
};

const REPOSITORY = '127.0.0.1:5000/berth/default.base';
const record = { digest: DIGEST, repository: REPOSITORY, contentVersion: 2, takenWhile: 'Stopped', sizeBytes: 1024, completionTime: TIME };

export const sandboxBase = {
  apiVersion: 'berth.dev/v1alpha1',
  kind: 'Sandbox',
  metadata: { name: 'base', namespace: 'default' },
  spec: {
    desiredState: 'Started',
    image: '127.0.0.1:5000/berth/demo:1',
    imagePullPolicy: 'Always',
    imagePullSecrets: [{ name: 'registry' }],
    command: ['/bin/sh'],
    args: ['-c', 'sleep 1'],
    env: [
      { name: 'TOKEN', valueFrom: { secretKeyRef: { name: 'token', key: 'value', optional: true } } },
      { name: 'GREETING', value: 'hello' },
    ],
    workingDir: '/work',
    securityContext: { runAsUser: 1000, runAsGroup: 1000 },
    resources: {
      requests: { cpu: '250m', memory: '64Mi', disk: '1Gi' },
      limits: { cpu: 2, memory: '256Mi', disk: '4Gi', pids: 128 },
    },
    restartPolicy: 'OnFailure',
    placement: { region: 'eu-1', runnerClassName: 'standard', runnerSelector: { matchLabels: { 'example.com/zone': 'a' } } },
    backup: { policy: 'Interval', intervalSeconds: 600, retain: 5, requestID: '1', reclaimPolicy: 'Retain' },
    restore: { requestID: '1', digest: DIGEST },
    restartID: '1',
    lifecycle: {},
    recovery: { policy: 'Wait' },
    terminationGracePeriodSeconds: 30,
  },
  status: {
    state: 'Started',
    reason: 'Started',
    message: 'The main program runs.',
    observedGeneration: 2,
    runnerName: 'runner-1',
    prevRunnerName: 'runner-2',
    order: 5,
    assignment: {
      epoch: 3,
      storeID: STORE,
      bootID: BOOT,
      phase: 'Committed',
      source: { kind: 'Backup', digest: DIGEST, repository: REPOSITORY },
      previous: { runnerName: 'runner-2', storeID: STORE, epoch: 2, contentVersion: 2 },
      reason: 'RunnerUnschedulable',
      startTime: TIME,
      configHash: '3f1c',
    },
    highestEpoch: 3,
    contentVersion: 3,
    baseImage: { ref: '127.0.0.1:5000/berth/demo:1', digest: DIGEST },
    backup: {
      latest: record,
      lastID: 4,
      requestID: '1',
      operation: {
        kind: 'Request',
        state: 'Running',
        id: 4,
        requestID: '2',
        repository: REPOSITORY,
        storeID: STORE,
        epoch: 3,
        contentVersion: 3,
        startTime: TIME,
        attempts: 1,
        retryTime: TIME,
        bytes: 512,
        reason: 'RegistryUnavailable',
        message: 'The registry does not answer.',
      },
      history: [{ ...record, verifiedTime: TIME, deletionTime: TIME }],
    },
    restore: { requestID: '1', digest: DIGEST, completionTime: TIME },
    releases: [{ runnerName: 'runner-2', storeID: STORE, epoch: 2, contentVersion: 2 }],
    superseded: [{ runnerName: 'runner-3', storeID: STORE, epoch: 1, contentVersion: 1 }],
    transition: { startTime: TIME, deadlineTime: TIME, attempts: 1, retryTime: TIME },
    startTime: TIME,
    finishTime: TIME,
    exitCode: 137,
    exitReason: 'OOMKilled',
    restartCount: 1,
    restartID: '1',
    conditions: [condition],
  },
} as const;

const amounts = { cpu: '8', memory: '16Gi', disk: '200Gi' };

export const runnerBase = {
  apiVersion: 'berth.dev/v1alpha1',
  kind: 'Runner',
  metadata: { name: 'base' },
  spec: {
    unschedulable: true,
    region: 'eu-1',
    runnerClassName: 'standard',
    fenced: false,
    maxStarted: 50,
    taskSlots: 8,
    taskSlotResources: { cpu: '200m', memory: '256Mi' },
  },
  status: {
    storeID: STORE,
    incarnation: 4,
    agentID: STORE,
    bootID: BOOT,
    version: '0.1.0',
    capacity: amounts,
    allocated: amounts,
    usage: { memory: '4Gi', disk: '20Gi', pids: 500 },
    startedSandboxes: 2,
    tasks: { slots: 8, used: 1, queued: 0, summary: '1/8' },
    connections: { connected: 3, known: 3, summary: '3/3' },
    unclaimed: [{ uid: STORE, epoch: 1, namespace: 'default', name: 'gone', contentVersion: 1, state: 'Stopped', startTime: TIME }],
    removals: [{ uid: STORE, epoch: 1, namespace: 'default', name: 'gone', storeID: STORE, order: 7, graceSeconds: 10, startTime: TIME }],
    conditions: [{ ...condition, type: 'connection.berth.dev/10-244-1-5-3001' }],
  },
} as const;
