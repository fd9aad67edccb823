import type { ListShardsCommand } from '@aws-sdk/client-kinesis'
import type { Kinesis, Random } from '@shardwise/core'
import { KinesisModel, ServiceError } from '@shardwise/local'
import type { Network } from './network.ts'
import { EPOCH_MS, type SimulatedProcess } from './process.ts'
import { chance } from './randomness.ts'
import type { StoredStream, StoredUserRecord } from './stored-stream.ts'
import type { VirtualTime } from './virtual-time.ts'

export const STREAM = 'orders'

/** The request timeout of the library's own client. */
const TIMEOUT_MS = 30_000

export interface KinesisServiceOptions {
  readonly time: VirtualTime
  readonly random: Random
  readonly network: Network
  readonly stored: StoredStream
  readonly shards: number
  readonly limits: boolean
  readonly reshardMs: number
  readonly retentionMs: number
  readonly onStored: (record: StoredUserRecord) => void
  /** How old a listing of shards may be now, in milliseconds. */
  readonly listingLagMs: () => number
}

interface Entry {
  readonly PartitionKey: string
  readonly ExplicitHashKey?: string
  readonly Data: Uint8Array
}

interface Result {
  readonly ShardId?: string
  readonly SequenceNumber?: string
}

interface Command {
  readonly input: object
  readonly constructor: { readonly name: string }
}

/** The model of Kinesis behind the network, with one stream, whose every record is noted as it is stored. */
export class KinesisService {
  readonly model: KinesisModel
  readonly #options: KinesisServiceOptions
  readonly #wallMs: () => number
  /** How probable it is that an iterator counts as expired, by each fault that says so. */
  readonly #expiring = new Set<{ readonly probability: number }>()
  /** Past answers to ListShards, by request. */
  readonly #listings = new Map<string, { readonly atMs: number; readonly answer: object }[]>()

  constructor(options: KinesisServiceOptions) {
    const { time, shards, limits, reshardMs, retentionMs, random } = options
    this.#options = options
    this.#wallMs = () => EPOCH_MS + time.nowMs
    this.model = new KinesisModel({
      clock: { monotonicMs: () => time.nowMs, wallMs: this.#wallMs },
      limits,
      reshardMs,
      retentionMs,
      retentionBytes: Number.POSITIVE_INFINITY,
      random,
    })
    this.model.execute('CreateStream', { StreamName: STREAM, ShardCount: shards })
    this.#noteShards()
  }

  /** A client of this service in a process. */
  clientOf(process: SimulatedProcess): Kinesis {
    const send = (command: Command, { abortSignal }: { abortSignal?: AbortSignal } = {}): Promise<object> => {
      const operation = command.constructor.name.replace(/Command$/, '')
      const input = operation === 'PutRecords' ? withOwnBytes(command.input) : command.input
      let servedAtMs = 0
      const answered = this.#options.network.call({
        process,
        service: 'kinesis',
        timeoutMs: TIMEOUT_MS,
        signal: abortSignal,
        execute: () => {
          servedAtMs = this.#wallMs()
          return this.#execute(operation, input)
        },
        describe: () => describe(operation, input),
      })
      return operation === 'ListShards'
        ? withServiceTime(command as unknown as ListShardsCommand, answered, () => servedAtMs)
        : answered
    }
    return { send } as unknown as Kinesis
  }

  /** Splits, merges or resizes, unless the service refuses it now. `where` is a place among the open shards, from 0 to 1. */
  reshard(act: 'split' | 'merge' | 'resize', where: number): void {
    const open = this.model.streamNamed(STREAM).openShards
    const index = Math.floor(where * open.length)
    const shard = open[index]!
    try {
      if (act === 'resize') {
        const target = Math.max(Math.ceil(open.length / 2), Math.min(8, Math.round(where * 2 * open.length)))
        this.model.execute('UpdateShardCount', {
          StreamName: STREAM,
          TargetShardCount: target,
          ScalingType: 'UNIFORM_SCALING',
        })
      } else if (act === 'split') {
        const { start, end } = shard.hashRange
        this.model.execute('SplitShard', {
          StreamName: STREAM,
          ShardToSplit: shard.id,
          NewStartingHashKey: String(start + ((end - start) * BigInt(10 + Math.floor(where * 80))) / 100n),
        })
      } else {
        const neighbour = open[index + 1]
        if (neighbour === undefined) return
        this.model.execute('MergeShards', {
          StreamName: STREAM,
          ShardToMerge: shard.id,
          AdjacentShardToMerge: neighbour.id,
        })
      }
    } catch (error) {
      // Such as while another reshard is under way: then there is none.
      if (!(error instanceof ServiceError)) throw error
    }
  }

  /** From now on calls are refused with this probability, until the returned function is called. */
  disturb(error: 'throttle' | 'internalError' | 'partialFailure' | 'expiredIterator', probability: number): () => void {
    if (error === 'expiredIterator') {
      const fault = { probability }
      this.#expiring.add(fault)
      return () => this.#expiring.delete(fault)
    }
    const handle = this.model.faults.add({ fault: error, probability })
    return () => handle.remove()
  }

  openShardIds(): string[] {
    return this.model.streamNamed(STREAM).openShards.map(({ id }) => id)
  }

  get #expiringNow(): number {
    return Math.max(0, ...[...this.#expiring].map(({ probability }) => probability))
  }

  #execute(operation: string, input: object): object {
    this.#noteShards()
    try {
      if (operation === 'ListShards') return this.#list(input)
      if (operation === 'GetRecords' && chance(this.#options.random, this.#expiringNow)) {
        throw new ServiceError('ExpiredIteratorException', 'Iterator expired.')
      }
      const { answer } = this.model.request(operation, input as Record<string, unknown>)
      if (answer instanceof ServiceError) throw answer
      if (operation === 'PutRecords') this.#noteRecords(input, answer)
      return operation === 'DescribeStreamSummary' ? this.#withRetention(answer) : answer
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error
      throw Object.assign(new Error(error.message), {
        name: error.type,
        $metadata: { httpStatusCode: error.status },
      })
    }
  }

  /** A retention of seconds: the service has whole hours. */
  #withRetention(answer: object): object {
    const { StreamDescriptionSummary: summary } = answer as { StreamDescriptionSummary: object }
    const RetentionPeriodHours = this.#options.retentionMs / 3_600_000
    return { StreamDescriptionSummary: { ...summary, RetentionPeriodHours } }
  }

  /** What the service lists may be from before the latest reshard. */
  #list(input: object): object {
    const { time, random, listingLagMs } = this.#options
    const key = JSON.stringify(input)
    const past = this.#listings.get(key) ?? []
    const lagMs = listingLagMs()
    const recent = past.filter(({ atMs }) => atMs >= time.nowMs - lagMs)
    const old = recent[0]
    if (old !== undefined && chance(random, 0.5)) return old.answer
    const { answer } = this.model.request('ListShards', input as Record<string, unknown>)
    if (answer instanceof ServiceError) throw answer
    this.#listings.set(key, [...recent, { atMs: time.nowMs, answer }])
    return answer
  }

  #noteShards(): void {
    for (const { id, hashRange, parents } of this.model.streamNamed(STREAM).shards) {
      this.#options.stored.addShard(
        id,
        hashRange,
        parents.map((parent) => parent.id),
      )
    }
  }

  #noteRecords(input: object, answer: object): void {
    const { stored, time, onStored } = this.#options
    const { Records: entries } = input as { Records: readonly Entry[] }
    const { Records: results } = answer as { Records: readonly Result[] }
    for (const [index, { ShardId, SequenceNumber }] of results.entries()) {
      if (ShardId === undefined || SequenceNumber === undefined) continue
      const { PartitionKey, ExplicitHashKey, Data } = entries[index]!
      const record = { partitionKey: PartitionKey, explicitHashKey: ExplicitHashKey, data: Data }
      for (const each of stored.add(ShardId, SequenceNumber, time.nowMs, record)) onStored(each)
    }
  }
}

/** What is sent is what the bytes are now: the producer uses its buffers again. */
function withOwnBytes(input: object): object {
  const { Records, ...rest } = input as { Records: readonly Entry[] }
  return { ...rest, Records: Records.map((entry) => ({ ...entry, Data: Uint8Array.from(entry.Data) })) }
}

/** Runs the steps that the library has added to the command, with the service's time in the answer's header. */
function withServiceTime(
  command: ListShardsCommand,
  answered: Promise<object>,
  servedAtMs: () => number,
): Promise<object> {
  const handler = command.middlewareStack.resolve(async () => {
    const output = await answered
    return { output: output as never, response: { headers: { date: new Date(servedAtMs()).toUTCString() } } }
  }, {} as never)
  return handler({ input: command.input, request: {} } as never).then(({ output }) => output)
}

function describe(operation: string, input: object): string {
  const { Records, ShardId, ShardIteratorType, StartingSequenceNumber } = input as Record<string, unknown>
  const details = [ShardId, ShardIteratorType, StartingSequenceNumber, Array.isArray(Records) && Records.length]
  return [operation, ...details.filter((detail) => detail !== undefined && detail !== false)].join(' ')
}
