/** The API of Berth: schemas, types and names. */
export { amountsOf, type Condition, type ObjectMetadata, type ResourceAmounts } from './meta.ts';
export * from './names.ts';
export * from './parse.ts';
export * from './quantity.ts';
export * from './reasons.ts';
export * from './runner.ts';
export * from './sandbox.ts';
export type { DeepReadonly } from './schema.ts';
