import { parseArgs } from 'node:util'

export interface CliOptions {
  readonly help: boolean
  /** How many records at most; infinity = all there are. */
  readonly records: number
  readonly shards: number
  readonly limits: boolean
  readonly kill: boolean
  /** A file of one's own instead of the flights. */
  readonly input?: { readonly path: string; readonly key: string }
}

/** The command line can't be used; the message says why, in one line. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

export const HELP = `npm start -- [options]

Puts three million US flights into a Kinesis stream on this machine and adds them up by origin airport in two worker
processes that share the shards by leases in DynamoDB. In mid-run the hottest shard is split, and later one worker is
killed. At the end everything is checked against the file: nothing lost, nothing altered, in order by key.

  --records <n>    the first n records of the file only
  --shards <n>     shards the stream starts with (default 4)
  --limits         with the shards' rate limits of the real service: 1 MiB/s in and 2 MiB/s out per shard
  --no-kill        kill no worker
  --input <file>   a file of your own instead of the flights: one JSON object a line; needs --key
  --key <path>     where in each object its partition key is, such as user.id
  --help           this text

Colours can be turned off with NO_COLOR=1. Exit status: 0 everything held, 1 something didn't, 2 wrong usage or file,
130 interrupted.
`

const MAX_SHARDS = 64

/** @throws {UsageError} */
export function parseCli(args: readonly string[]): CliOptions {
  const values = parse(args)
  const { input, key } = values
  if (input !== undefined && key === undefined) {
    throw new UsageError('--input needs --key: where in each object its partition key is, such as --key user.id')
  }
  if (key !== undefined && input === undefined) throw new UsageError('--key needs --input: the file to read')
  if (input === '') throw new UsageError('--input: expected the path of a file, got an empty one')
  if (key?.split('.').includes('')) {
    throw new UsageError(`--key: expected field names with dots between, such as user.id, got "${key}"`)
  }
  return {
    help: values.help,
    records: values.records === undefined ? Number.POSITIVE_INFINITY : wholeNumber('--records', values.records),
    shards: values.shards === undefined ? 4 : wholeNumber('--shards', values.shards, MAX_SHARDS),
    limits: values.limits,
    kill: !values['no-kill'],
    ...(input !== undefined && key !== undefined ? { input: { path: input, key } } : {}),
  }
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        records: { type: 'string' },
        shards: { type: 'string' },
        limits: { type: 'boolean', default: false },
        'no-kill': { type: 'boolean', default: false },
        input: { type: 'string' },
        key: { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }).values
  } catch (error) {
    // Node's advice on positional arguments, which there are none of here, starts at the second sentence or line.
    const [message = ''] = (error as Error).message.split(/\n|\. /)
    throw new UsageError(message.replace(/\.$/, ''))
  }
}

function wholeNumber(flag: string, text: string, max: number = Number.MAX_SAFE_INTEGER): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < 1 || value > max) {
    const range = max === Number.MAX_SAFE_INTEGER ? 'of at least 1' : `from 1 to ${max}`
    throw new UsageError(`${flag}: expected a whole number ${range}, got "${text}"`)
  }
  return value
}
