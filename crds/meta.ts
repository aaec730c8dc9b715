import { z } from 'zod';
import { CONDITION_STATUSES } from './names.ts';
import { bytes, millicores, nanosOf, parseNanos, QUANTITY_MAX_LENGTH, QUANTITY_PATTERN, type Quantity } from './quantity.ts';
import { counter, mapList, matching, ruled, time, type DeepReadonly, text } from './schema.ts';

/** Field types that both kinds use. */

export const DNS_LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const DNS_SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const NAME_IN_LABEL = /^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;
const DIGEST = /^sha256:[0-9a-f]{64}$/;
const CAMEL_CASE = /^[A-Z][A-Za-z0-9]*$/;
const LABEL_KEY = /^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;
const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/;

export const dnsLabel = (field: string) =>
  matching(DNS_LABEL, 63, `${field} must be a lower-case name of at most 63 letters, digits and '-', such as team-a.`);
export const objectName = (field: string) =>
  matching(DNS_SUBDOMAIN, 253, `${field} must be the name of an object: lower-case letters, digits, '-' and '.'.`);
/** An id that a user makes up; a new one asks for the thing again. */
export const requestID = (field: string) =>
  matching(NAME_IN_LABEL, 63, `${field} must be at most 63 letters, digits, '-', '_' and '.', such as 2026-01-31.`);
export const digest = (field: string) => matching(DIGEST, 71, `${field} must be a digest: sha256: and 64 hexadecimal digits.`);
/** A reason from the closed list (reasons.ts). Stored as text, so that an older reader survives a newer reason. */
export const reason = (field: string) => matching(CAMEL_CASE, 64, `${field} must be a CamelCase word.`);
/** A word with which things are grouped, such as a region. */
export const groupName = (field: string) =>
  matching(
    NAME_IN_LABEL,
    63,
    `${field} must be at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit.`,
  );
export const identity = () => text(64).min(1);

/** Labels as a selector or an object carries them. */
export function labels(field: string, maxProperties: number) {
  const record = ruled(z.record(z.string(), text(63)), {
    rule: `self.all(key, key.size() <= 317 && key.matches(r'${LABEL_KEY.source}') && self[key].matches(r'${LABEL_VALUE.source}'))`,
    check: (value) => Object.entries(value).every(([key, label]) => key.length <= 317 && LABEL_KEY.test(key) && LABEL_VALUE.test(label)),
    message: `${field} must hold label keys and values, such as example.com/zone: a.`,
  });
  return record
    .refine((value) => Object.keys(value).length <= maxProperties, { message: `at most ${maxProperties} labels` })
    .meta({ maxProperties });
}

/** A quantity from `min` to `max`, both included. `example` is shown to who got it wrong. */
export function quantity(field: string, min: string, max: string, example: string) {
  const self = 'quantity(string(self))';
  const schema = z.union([z.int().min(0), text(QUANTITY_MAX_LENGTH)]).meta({ 'x-kubernetes-int-or-string': true });
  const [least, most] = [nanosOf(min), nanosOf(max)];
  return ruled(schema, {
    rule:
      `string(self).size() <= ${QUANTITY_MAX_LENGTH} && string(self).matches(r'${QUANTITY_PATTERN.source}') && isQuantity(string(self)) && ` +
      `${self}.compareTo(quantity('${min}')) >= 0 && ${self}.compareTo(quantity('${max}')) <= 0`,
    check: (value) => {
      const nanos = parseNanos(value);
      return nanos !== undefined && nanos >= least && nanos <= most;
    },
    message: `${field} must be a quantity from ${min} to ${max}, such as ${example}.`,
  });
}

/** What a runner has, or has given away. */
export const resourceAmountsSchema = (field: string) =>
  z.object({
    cpu: quantity(`${field}.cpu`, '0', '100k', '7500m').describe('Processor cores, such as 8 or 7500m.'),
    memory: quantity(`${field}.memory`, '0', '1Pi', '16Gi').describe('Memory, such as 16Gi.'),
    disk: quantity(`${field}.disk`, '0', '8Pi', '200Gi').describe('Disk space of the store, such as 200Gi.'),
  });

/** An amount of cpu, memory and disk in whole numbers, for arithmetic. */
export interface ResourceAmounts {
  readonly cpuMillis: number;
  readonly memoryBytes: number;
  readonly diskBytes: number;
}

/** Amounts as whole numbers, each rounded up. */
export function amountsOf(resources: { readonly cpu: Quantity; readonly memory: Quantity; readonly disk: Quantity }): ResourceAmounts {
  return { cpuMillis: millicores(resources.cpu), memoryBytes: bytes(resources.memory), diskBytes: bytes(resources.disk) };
}

const CONDITION_TYPE = /^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/)?([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;

export const conditionSchema = z.object({
  type: text(316).regex(CONDITION_TYPE).describe('What the condition is about.'),
  status: z.enum(CONDITION_STATUSES).describe('True, False or Unknown.'),
  reason: text(64).min(1).regex(CAMEL_CASE).describe('Why, in one CamelCase word from the list of reasons.'),
  message: text(4096).describe('Why, in one sentence.'),
  lastTransitionTime: time().describe('When the status last changed.'),
  observedGeneration: counter().optional().describe('The metadata.generation that this condition was computed from.'),
});
export type Condition = DeepReadonly<z.output<typeof conditionSchema>>;

export const conditions = (maxItems: number) => mapList(conditionSchema, ['type'], maxItems);

/** The part of metadata that a manifest brings. */
export const manifestMetadataSchema = z.object({
  name: text(253).min(1).optional(),
  generateName: text(253).optional(),
  namespace: text(63).optional(),
  labels: z.record(z.string(), z.string()).optional(),
  annotations: z.record(z.string(), z.string()).optional(),
});

/** The part of a stored object's metadata that Berth reads. */
export const objectMetadataSchema = z.object({
  name: z.string().min(1),
  uid: z.string().min(1),
  resourceVersion: z.string().min(1),
  generation: z.int().min(0).default(0),
  creationTimestamp: z.string().min(1),
  deletionTimestamp: z.string().optional(),
  finalizers: z.array(z.string()).default([]),
  labels: z.record(z.string(), z.string()).default({}),
});
export type ObjectMetadata = DeepReadonly<z.output<typeof objectMetadataSchema>>;
