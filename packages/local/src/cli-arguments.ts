import { parseArgs } from 'node:util'
import type { LocalOptions } from './local.ts'
import { nearest } from './options.ts'

/** What the command line asks for. */
export type Command = { readonly action: 'help' } | { readonly action: 'version' } | StartCommand

export interface StartCommand {
  readonly action: 'start'
  readonly options: LocalOptions
  readonly certificateFile: string | undefined
}

/** A command line that can't be followed; the message says what was expected. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

interface Flag {
  readonly type: 'string' | 'boolean'
  readonly short?: string
  readonly multiple?: boolean
  /** What its value looks like. */
  readonly value?: string
  readonly help: string
}

/** Known to whoever has used an emulator before, and the same after a restart, so that exported variables stay true. */
const DEFAULT_KINESIS_PORT = 4567
const DEFAULT_DYNAMODB_PORT = 8000

const FLAGS: Readonly<Record<string, Flag>> = {
  stream: { type: 'string', multiple: true, value: 'name[:shards]', help: 'a stream to make, with 1 shard or so many' },
  'kinesis-port': {
    type: 'string',
    value: 'port',
    help: `port of Kinesis, ${DEFAULT_KINESIS_PORT} by default; 0 takes any`,
  },
  'dynamodb-port': {
    type: 'string',
    value: 'port',
    help: `port of DynamoDB, ${DEFAULT_DYNAMODB_PORT} by default; 0 takes any`,
  },
  'no-dynamodb': { type: 'boolean', help: 'leave DynamoDB out' },
  'no-limits': { type: 'boolean', help: "without the service's limits of throughput and calls" },
  'retention-bytes': {
    type: 'string',
    value: 'bytes',
    help: 'beyond so many bytes in a stream its oldest records go, 1 GiB by default',
  },
  tls: { type: 'boolean', help: 'Kinesis over TLS too, on a port of its own' },
  'kinesis-tls-port': { type: 'string', value: 'port', help: 'port of Kinesis over TLS, any by default; with --tls' },
  certificate: {
    type: 'string',
    value: 'file',
    help: 'write the certificate to a file and have clients use TLS; with --tls',
  },
  help: { type: 'boolean', short: 'h', help: 'show this' },
  version: { type: 'boolean', help: 'show the version' },
}

export const HELP: string = `Kinesis Data Streams and DynamoDB on this machine, in memory, until Ctrl-C.

  shardwise-local --stream orders:4 --stream events

${Object.entries(FLAGS)
  .map(([name, { value, help }]) => `  ${`--${name}${value === undefined ? '' : ` <${value}>`}`.padEnd(28)}${help}`)
  .join('\n')}
`

/** @throws {UsageError} for arguments that make no sense */
export function parseCommand(args: readonly string[]): Command {
  const values = parseFlags(args)
  if (values.help) return { action: 'help' }
  if (values.version) return { action: 'version' }
  const certificateFile = values.certificate as string | undefined
  const tls = values.tls === true
  for (const name of ['certificate', 'kinesis-tls-port']) {
    if (values[name] !== undefined && !tls) throw new UsageError(`--${name}: expected together with --tls`)
  }
  const options: LocalOptions = {
    streams: parseStreams((values.stream as string[] | undefined) ?? []),
    limits: values['no-limits'] !== true,
    dynamodb: values['no-dynamodb'] !== true,
    tls,
    kinesisPort: port(values, 'kinesis-port', DEFAULT_KINESIS_PORT),
    kinesisTlsPort: port(values, 'kinesis-tls-port', 0),
    dynamodbPort: port(values, 'dynamodb-port', DEFAULT_DYNAMODB_PORT),
    ...(values['retention-bytes'] !== undefined && {
      retentionBytes: wholeNumber(values, 'retention-bytes', 1, Number.MAX_SAFE_INTEGER),
    }),
  }
  return { action: 'start', options, certificateFile }
}

type Values = Readonly<Record<string, unknown>>

/** Not parseArgs's own strictness: its messages don't say what was expected. */
function parseFlags(args: readonly string[]): Values {
  const { values, tokens } = parseArgs({ args: [...args], options: flagsWithoutText(), strict: false, tokens: true })
  for (const token of tokens) {
    if (token.kind === 'positional') throw new UsageError(`expected only options, got "${token.value}"`)
    if (token.kind !== 'option') continue
    const flag = Object.hasOwn(FLAGS, token.name) ? FLAGS[token.name] : undefined
    if (flag === undefined) {
      throw new UsageError(
        `unknown option ${token.rawName}; did you mean --${nearest(token.name, Object.keys(FLAGS))}?`,
      )
    }
    if (flag.type === 'boolean' && token.value !== undefined) {
      throw new UsageError(`--${token.name}: expected no value, got "${token.value}"`)
    }
    if (flag.type === 'string' && (!token.value || (token.value.startsWith('-') && !token.inlineValue))) {
      throw new UsageError(`--${token.name}: expected a value, as in --${token.name} <${flag.value}>`)
    }
    if (
      flag.multiple !== true &&
      tokens.some((other) => other !== token && 'name' in other && other.name === token.name)
    ) {
      throw new UsageError(`--${token.name}: expected once`)
    }
  }
  return values
}

function flagsWithoutText(): Record<string, { type: 'string' | 'boolean'; short?: string; multiple?: boolean }> {
  return Object.fromEntries(
    Object.entries(FLAGS).map(([name, { type, short, multiple = false }]) => [
      name,
      { type, multiple, ...(short !== undefined && { short }) },
    ]),
  )
}

function parseStreams(streams: readonly string[]): Readonly<Record<string, number>> {
  const parsed = new Map<string, number>()
  for (const stream of streams) {
    const { name, shards = '1' } =
      /^(?<name>[a-zA-Z0-9_.-]{1,128})(:(?<shards>[1-9]\d{0,4}))?$/.exec(stream)?.groups ?? {}
    if (name === undefined) {
      throw new UsageError(`--stream: expected a name and how many shards, such as orders:4, got "${stream}"`)
    }
    if (parsed.has(name)) throw new UsageError(`--stream: expected each stream once, got "${name}" again`)
    parsed.set(name, Number(shards))
  }
  return Object.fromEntries(parsed)
}

function port(values: Values, name: string, otherwise: number): number {
  return values[name] === undefined ? otherwise : wholeNumber(values, name, 0, 65_535)
}

function wholeNumber(values: Values, name: string, min: number, max: number): number {
  const text = values[name] as string
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= min && value <= max)) {
    throw new UsageError(`--${name}: expected a whole number from ${min} to ${max}, got "${text}"`)
  }
  return value
}
