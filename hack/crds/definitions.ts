import { z } from 'zod';
import {
  API_GROUP,
  API_VERSION,
  RUNNER_KIND,
  runnerManifestSchema,
  SANDBOX_KIND,
  sandboxManifestSchema,
  type ResourceKind,
} from '../../crds/index.ts';
import { structuralSchema, type StructuralSchema } from './structural.ts';

/** A column of `kubectl get`; with priority 1 only of `-o wide`. */
export interface PrinterColumn {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'date' | 'boolean';
  readonly jsonPath: string;
  readonly description?: string;
  readonly priority?: 1;
}

export interface Definition {
  readonly names: ResourceKind;
  readonly description: string;
  readonly columns: readonly PrinterColumn[];
  readonly manifest: z.ZodType;
}

const AGE: PrinterColumn = { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' };

const condition = (type: string, field: 'status' | 'reason') => `.status.conditions[?(@.type=="${type}")].${field}`;

export const definitions: readonly Definition[] = [
  {
    names: SANDBOX_KIND,
    description: 'A sandbox: a long-lived container with files that are kept while it is stopped.',
    manifest: sandboxManifestSchema,
    columns: [
      { name: 'State', type: 'string', jsonPath: '.status.state', description: 'What was observed.' },
      { name: 'Desired', type: 'string', jsonPath: '.spec.desiredState', description: 'What was asked for.' },
      { name: 'Runner', type: 'string', jsonPath: '.status.runnerName', description: 'The runner that holds the sandbox.' },
      {
        name: 'Backup',
        type: 'string',
        jsonPath: condition('BackedUp', 'reason'),
        description: 'Whether a backup holds the content as it is.',
      },
      AGE,
      { name: 'Image', type: 'string', jsonPath: '.spec.image', priority: 1 },
      {
        name: 'Prev-Runner',
        type: 'string',
        jsonPath: '.status.prevRunnerName',
        description: 'The runner that held it before.',
        priority: 1,
      },
      { name: 'Epoch', type: 'integer', jsonPath: '.status.assignment.epoch', description: 'Rises with every assignment.', priority: 1 },
      { name: 'Reason', type: 'string', jsonPath: '.status.reason', description: 'Why it is in this state.', priority: 1 },
    ],
  },
  {
    names: RUNNER_KIND,
    description: 'A runner: a node whose agent runs sandboxes.',
    manifest: runnerManifestSchema,
    columns: [
      { name: 'Ready', type: 'string', jsonPath: condition('Ready', 'status'), description: 'Whether the agent is alive.' },
      {
        name: 'Schedulable',
        type: 'string',
        jsonPath: condition('Schedulable', 'status'),
        description: 'Whether sandboxes can be placed on it.',
      },
      { name: 'Sandboxes', type: 'integer', jsonPath: '.status.startedSandboxes', description: 'Sandboxes that run.' },
      { name: 'Tasks', type: 'string', jsonPath: '.status.tasks.summary', description: 'Task slots, used and all.' },
      { name: 'Connections', type: 'string', jsonPath: '.status.connections.summary', description: 'Operator pods, connected and known.' },
      { name: 'Region', type: 'string', jsonPath: '.spec.region' },
      { name: 'Class', type: 'string', jsonPath: '.spec.runnerClassName' },
      AGE,
    ],
  },
];

export function schemaOf({ manifest, description }: Definition): StructuralSchema {
  return structuralSchema(manifest, description);
}

/** The CustomResourceDefinition as an object. */
export function customResourceDefinition(definition: Definition): Readonly<Record<string, unknown>> {
  const { kind, listKind, plural, singular, shortName, namespaced } = definition.names;
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${API_GROUP}` },
    spec: {
      group: API_GROUP,
      names: { kind, listKind, plural, singular, shortNames: [shortName] },
      scope: namespaced ? 'Namespaced' : 'Cluster',
      versions: [
        {
          name: API_VERSION,
          served: true,
          storage: true,
          subresources: { status: {} },
          additionalPrinterColumns: definition.columns,
          schema: { openAPIV3Schema: schemaOf(definition) },
        },
      ],
    },
  };
}
