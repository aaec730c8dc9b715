import { z } from 'zod';
import { httpErrorOf, httpErrors, type HttpErrorCode } from './error-table.ts';
import type { Answer, Route } from './route.ts';

type Json = Readonly<Record<string, unknown>>;

/** What every route may answer, and none names itself. */
const everywhere: readonly HttpErrorCode[] = ['InvalidRequest', 'Internal', 'ShuttingDown'];
const whenAsked: readonly HttpErrorCode[] = ['NotReady', 'Unauthenticated', 'Forbidden', 'AuthUnavailable'];
const withBody: readonly HttpErrorCode[] = ['MalformedJson', 'JsonTooDeep', 'BodyTooLarge', 'UnsupportedMediaType', 'RequestTimeout'];

/** The errors that a route may answer with, those that it does not name among them. */
export function errorsOf({ permission, body, errors }: Route): readonly HttpErrorCode[] {
  return [...new Set([...errors, ...everywhere, ...(permission === undefined ? [] : whenAsked), ...(body === undefined ? [] : withBody)])];
}

/** The OpenAPI document of the routes. */
export function openApiOf(routes: readonly Route[], version: string): Json {
  const paths = [...new Set(routes.map(({ path }) => path))].map((path) => {
    const operations = routes
      .filter((route) => route.path === path)
      .map((route) => [route.method.toLowerCase(), operationOf(route)] as const);
    return [path, Object.fromEntries(operations)] as const;
  });
  return {
    openapi: '3.1.0',
    info: {
      title: 'Berth',
      version,
      description:
        'Reserve room on a fleet of runners, run commands in sandboxes and in containers of their own, and see what the fleet has. Every operator pod serves all of it. Answers that are no success have a code that never changes its meaning; those with Retry-After are worth another try after it. Fields that are not known are passed over and named in a header Warning.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    security: [{ token: [] }],
    paths: Object.fromEntries(paths),
    components: {
      securitySchemes: {
        token: {
          type: 'http',
          scheme: 'bearer',
          description:
            'A token of Kubernetes for the audience berth-operator: kubectl create token <ServiceAccount> --audience berth-operator.',
        },
      },
      schemas: { Error: errorSchema },
    },
  };
}

const errorSchema: Json = {
  type: 'object',
  required: ['error'],
  properties: {
    error: {
      type: 'object',
      required: ['code', 'message'],
      properties: {
        code: { type: 'string', enum: Object.keys(httpErrors) },
        message: { type: 'string', description: 'For people; may change.' },
        requestID: { type: 'string', description: 'As the header X-Request-Id; the log of the operator has it.' },
        retryAfterSeconds: { type: 'integer', description: 'As the header Retry-After.' },
        details: { type: 'object' },
      },
    },
  },
};

function operationOf(route: Route): Json {
  const { id, summary, description, permission, answers } = route;
  const needs =
    permission === undefined
      ? 'Nobody is asked who they are.'
      : `Needs the permission to ${permission.verb} sandboxes/${permission.subresource} of berth.dev.`;
  const parameters = [...parametersOf(route, 'path'), ...parametersOf(route, 'query'), ...headersOf(route)];
  const responses = [...Object.entries(answers).map(([status, answer]) => [status, responseOf(answer)] as const), ...failuresOf(route)];
  const requestBody = bodyOf(route);
  return {
    operationId: id,
    summary,
    description: [description, needs].filter((text) => text !== undefined).join('\n\n'),
    ...(permission === undefined && { security: [] }),
    ...(parameters.length > 0 && { parameters }),
    ...(requestBody !== undefined && { requestBody }),
    responses: Object.fromEntries(responses),
  };
}

function parametersOf(route: Route, where: 'path' | 'query'): readonly Json[] {
  const schema = where === 'path' ? route.params : route.query;
  if (schema === undefined) return [];
  const { properties = {}, required = [] } = jsonSchemaOf(schema, 'input') as {
    properties?: Record<string, Json>;
    required?: readonly string[];
  };
  return Object.entries(properties).map(([name, { description, ...property }]) => ({
    name,
    in: where,
    required: where === 'path' || required.includes(name),
    ...(description !== undefined && { description }),
    schema: property,
  }));
}

function headersOf({ takesKey }: Route): readonly Json[] {
  if (takesKey !== true) return [];
  const description =
    'Makes the request one that may be sent again, through any pod: it is done once, and every time answered with the same. 1 to 128 visible ASCII characters; remembered for 15 minutes.';
  return [
    { name: 'Idempotency-Key', in: 'header', required: false, description, schema: { type: 'string', minLength: 1, maxLength: 128 } },
  ];
}

function bodyOf({ body }: Route): Json | undefined {
  if (body === undefined) return undefined;
  if (body === 'Bytes') return { content: { 'application/octet-stream': { schema: {} } } };
  return { required: !body.safeParse({}).success, content: { 'application/json': { schema: jsonSchemaOf(body, 'input') } } };
}

function responseOf({ description, schema, contentType }: Answer): Json {
  if (contentType !== undefined)
    return { description, content: { [contentType]: { schema: schema === undefined ? {} : jsonSchemaOf(schema, 'output') } } };
  return { description, ...(schema !== undefined && { content: { 'application/json': { schema: jsonSchemaOf(schema, 'output') } } }) };
}

/** By status, with every code that comes with it. */
function failuresOf(route: Route): readonly (readonly [string, Json])[] {
  const rows = errorsOf(route).map((code) => ({ code, ...httpErrorOf(code) }));
  const statuses = [...new Set(rows.map(({ status }) => status))].toSorted((one, other) => one - other);
  return statuses.map((status) => {
    const ofStatus = rows.filter((row) => row.status === status);
    const description = ofStatus.map(({ code, message }) => `\`${code}\`: ${message}`).join('\n\n');
    const headers = ofStatus.some(({ retryAfter }) => retryAfter !== undefined)
      ? { headers: { 'Retry-After': { description: 'Seconds.', schema: { type: 'integer' } } } }
      : {};
    return [
      String(status),
      { description, ...headers, content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } } },
    ] as const;
  });
}

function jsonSchemaOf(schema: z.ZodType, io: 'input' | 'output'): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, {
    io,
    reused: 'inline',
    unrepresentable: 'throw',
    override: ({ jsonSchema }) => tidy(jsonSchema),
  });
  return rest;
}

/** What zod adds and nobody has to know: the bounds of every integer of JavaScript, and that answers have no more fields. */
function tidy(schema: z.core.JSONSchema.BaseSchema): void {
  const unused = [
    schema.maximum === Number.MAX_SAFE_INTEGER ? 'maximum' : undefined,
    schema.minimum === Number.MIN_SAFE_INTEGER ? 'minimum' : undefined,
    schema.additionalProperties === false ? 'additionalProperties' : undefined,
  ];
  for (const key of unused) if (key !== undefined) Reflect.deleteProperty(schema, key);
}
