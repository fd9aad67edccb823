import { createHash } from 'node:crypto'
import type { ListShardsCommand } from '@aws-sdk/client-kinesis'
import type { Kinesis, Random } from '@shardwise/core'
import { KinesisModel, ServiceError } from '@shardwise/local'
import { AGGREGATE_MAGIC } from '@shardwise/records'
import { CallRateWitness } from './call-rate-witness.ts'
import { FanOutService } from './fan-out-service.ts'
import type { CallTrouble, Distribution, Fault, WatchedOperation } from './faults.ts'
import type { Network } from './network.ts'
import { EPOCH_MS, type SimulatedProcess } from './process.ts'
import { chance, integer } from './randomness.ts'
import { refusal } from './refusal.ts'
import { type Entry, hasSameBytes, type RequestWatch, streamOf, watched, withOwnBytes } from './request-watch.ts'
import { type Content, contentOf, type StoredStream, type StoredUserRecord, shardKeyOf } from './stored-stream.ts'
import { StreamChanges } from './stream-changes.ts'
import { Violation } from './violation.ts'
import type { VirtualTime } from './virtual-time.ts'

export const STREAM = 'orders'
/** Put into, and never read. */
export const SIDE_STREAM = 'audit'

/** What a consumer may count for a record beside its bytes. */
const KEPT_BESIDE_BYTES = 300
/** The service's own. */
const SUBSCRIPTION_MS = 300_000
/** The request timeout of the library's own client. */
const TIMEOUT_MS = 30_000

export interface ClientOptions {
  /** After so long it gives a request up; Infinity for never. */
  readonly timeoutMs?: number
  /** What is late comes after so many times this. Default: the timeout. */
  readonly lateMs?: number
  /** What it may not call. */
  readonly denied?: readonly WatchedOperation[] | undefined
  readonly watch?: RequestWatch
}

interface Notes {
  readonly stored: StoredStream
  readonly onStored: (record: StoredUserRecord) => void
}

export interface KinesisServiceOptions {
  readonly time: VirtualTime
  readonly random: Random
  readonly network: Network
  /** Where is noted what is in the streams that there are. */
  readonly notes: ReadonlyMap<string, Notes>
  readonly shards: number
  readonly limits: boolean
  readonly reshardMs: number
  readonly retentionMs: number
  readonly onDemand?: boolean
  readonly distribution?: Distribution
  readonly maxRecordKiB?: number
  /** How old a listing of shards may be now, in milliseconds. */
  readonly listingLagMs: () => number
  /** How long a consumer for fan-out is being registered, or deregistered, and how long a subscription lives. Default: 0, 5 minutes. */
  readonly fanOut?: { readonly registerMs: number; readonly subscriptionMs: number }
  /** Whether one worker is alone with the streams, and nothing makes the service refuse a read. */
  readonly isUndisturbed: boolean
  readonly report: (violation: Violation) => void
  /** What happens to calls of a process now. */
  readonly calls: (process: SimulatedProcess, operation: WatchedOperation) => CallTrouble | undefined
}

interface Result {
  readonly ShardId?: string
  readonly SequenceNumber?: string
}

interface Probable {
  readonly probability: number
}

interface ReadInput {
  readonly ShardId?: string
  readonly ShardIterator?: string
}

interface ReadAnswer {
  readonly Records?: readonly { readonly Data: Uint8Array }[]
  readonly ShardIterator?: string
  readonly NextShardIterator?: string
}

interface Command {
  readonly input: object
  readonly constructor: { readonly name: string }
}

/** The model of Kinesis behind the network, with one stream, whose every record is noted as it is stored. */
export class KinesisService {
  readonly model: KinesisModel
  readonly fanOut: FanOutService
  readonly changes: StreamChanges
  readonly #rates: CallRateWitness
  readonly #options: KinesisServiceOptions
  readonly #wallMs: () => number
  /** What comes of reads now: how probable it is, by each fault that says so. */
  readonly #misread = { expiredIterator: new Set<Probable>(), falseEnd: new Set<Probable>() }
  /** The most that one answer or event has brought to each process. */
  readonly #largest = new Map<string, number>()
  /** Past answers to ListShards, by request. */
  readonly #listings = new Map<string, { readonly atMs: number; readonly answer: object }[]>()
  /** Since when each process knows each stream. */
  readonly #described = new Map<string, number>()

  constructor(options: KinesisServiceOptions) {
    const { time, shards, limits, reshardMs, retentionMs, random, onDemand, distribution, maxRecordKiB } = options
    const { registerMs, subscriptionMs } = options.fanOut ?? { registerMs: 0, subscriptionMs: SUBSCRIPTION_MS }
    this.#options = options
    this.#wallMs = () => EPOCH_MS + time.nowMs
    this.model = new KinesisModel({
      clock: { monotonicMs: () => time.nowMs, wallMs: this.#wallMs },
      limits,
      reshardMs,
      retentionMs,
      retentionBytes: Number.POSITIVE_INFINITY,
      registerMs,
      random,
    })
    this.#rates = new CallRateWitness({ ...options, nowMs: () => time.nowMs })
    this.fanOut = new FanOutService({
      ...options,
      model: this.model,
      subscriptionMs,
      onShardsTold: () => this.#noteShards(),
      onEvent: (process, records) => this.#noteAnswer(process, records),
      rates: this.#rates,
    })
    this.model.execute('CreateStream', {
      StreamName: STREAM,
      ShardCount: shards,
      StreamModeDetails: { StreamMode: onDemand ? 'ON_DEMAND' : 'PROVISIONED' },
      ...(distribution && { RecordDistributionStrategy: distribution }),
      ...(maxRecordKiB !== undefined && { MaxRecordSizeInKiB: maxRecordKiB }),
    })
    if (options.notes.has(SIDE_STREAM)) {
      this.model.execute('CreateStream', { StreamName: SIDE_STREAM, ShardCount: shards })
    }
    this.changes = new StreamChanges({
      model: this.model,
      streams: [...options.notes.keys()],
      main: STREAM,
      onDemand: onDemand === true,
      nowMs: () => time.nowMs,
      wallMs: this.#wallMs,
    })
    this.#noteShards()
  }

  /** A client of this service in a process. */
  clientOf(process: SimulatedProcess, options: ClientOptions = {}): Kinesis {
    const { timeoutMs = TIMEOUT_MS, lateMs = timeoutMs, denied, watch } = options
    const send = (command: Command, { abortSignal }: { abortSignal?: AbortSignal } = {}): Promise<object> => {
      const operation = command.constructor.name.replace(/Command$/, '')
      if (operation === 'SubscribeToShard') {
        return this.fanOut.subscribe({ process, input: command.input, lateMs, signal: abortSignal })
      }
      if (operation === 'DeregisterStreamConsumer') this.#deregistered(process)
      const input = operation === 'PutRecords' ? withOwnBytes(command.input) : command.input
      const contents = operation === 'PutRecords' ? (input as { Records: readonly Entry[] }).Records.map(contentOf) : []
      const trouble = (): CallTrouble | undefined => {
        if (operation !== 'ListShards' && operation !== 'DescribeStreamSummary') return undefined
        return denied?.includes(operation) ? 'denied' : this.#options.calls(process, operation)
      }
      let servedAtMs = 0
      const answered = this.#options.network.call({
        process,
        service: 'kinesis',
        timeoutMs,
        lateMs,
        signal: abortSignal,
        execute: () => {
          servedAtMs = this.#wallMs()
          const now = trouble()
          if (now !== undefined && now !== 'hanging') throw refusal(TROUBLES[now])
          if (operation === 'PutRecords' && !hasSameBytes(command.input, input)) watch?.changed()
          return this.#execute(operation, input, contents, process)
        },
        isHung: () => trouble() === 'hanging',
        describe: () => describe(operation, input),
      })
      answered.then(
        () => {
          const name = `${process.name} ${streamOf(input)}`
          if (operation === 'DescribeStreamSummary' && !this.#described.has(name)) {
            this.#described.set(name, this.#options.time.nowMs)
          }
        },
        ({ name }: Error) => {
          if (name === DENIED) watch?.denied()
        },
      )
      if (operation === 'PutRecords' && watch !== undefined) return watched(watch, input, contents, answered)
      return operation === 'ListShards'
        ? withServiceTime(command as unknown as ListShardsCommand, answered, () => servedAtMs)
        : answered
    }
    return { send } as unknown as Kinesis
  }

  /** From now on calls are refused with this probability, until the returned function is called. */
  disturb(error: Extract<Fault, { kind: 'errors' }>['error'], probability: number): () => void {
    if (error === 'expiredIterator' || error === 'falseEnd') {
      const fault = { probability }
      this.#misread[error].add(fault)
      return () => this.#misread[error].delete(fault)
    }
    const handle = this.model.faults.add({ fault: error, probability })
    return () => handle.remove()
  }

  /** Somebody puts aggregates that are damaged inside. */
  damage(count: number): void {
    const { notes, random, time } = this.#options
    for (let left = count; left > 0; left--) {
      const { stored } = notes.get(STREAM)!
      const Data = damagedAggregate(random)
      this.#noteShards()
      const { answer } = this.model.request('PutRecord', {
        StreamName: STREAM,
        PartitionKey: `damaged-${random()}`,
        Data,
      })
      // It goes too fast for the shard.
      if (answer instanceof ServiceError) continue
      const { ShardId, SequenceNumber } = answer as Required<Result>
      stored.addDamaged(ShardId, SequenceNumber, Data.length, time.nowMs)
    }
  }

  /** Since when the process knows how long the stream keeps its records; Infinity if it doesn't. */
  knownSinceMs({ name }: SimulatedProcess, stream: string): number {
    return this.#described.get(`${name} ${stream}`) ?? Number.POSITIVE_INFINITY
  }

  /** The most bytes that one answer or event has brought to a process, and what it keeps beside them. */
  largestAnswerBytes({ name }: SimulatedProcess): number {
    return this.#largest.get(name) ?? 0
  }

  /** Whether a shard is still there: one whose records have all expired is not. */
  hasShard(stream: string, shardId: string): boolean {
    return this.model.streamNamed(stream).shards.some(({ id }) => id === shardId)
  }

  openShardIds(stream: string = STREAM): string[] {
    return this.model.streamNamed(stream).openShards.map(({ id }) => id)
  }

  #isMisread(how: 'expiredIterator' | 'falseEnd'): boolean {
    const probability = Math.max(0, ...[...this.#misread[how]].map((fault) => fault.probability))
    return chance(this.#options.random, probability)
  }

  #execute(operation: string, input: object, contents: readonly Content[], process: SimulatedProcess): object {
    this.#noteShards()
    try {
      if (operation === 'ListShards') return this.#list(input)
      if (operation === 'GetRecords' && this.#isMisread('expiredIterator')) {
        throw new ServiceError('ExpiredIteratorException', 'Iterator expired.')
      }
      if (operation === 'GetRecords') this.#rates.polls(process, (input as ReadInput).ShardIterator ?? '')
      const { answer } = this.model.request(operation, input as Record<string, unknown>)
      if (operation === 'GetRecords' || operation === 'GetShardIterator') this.#noteRead(process, input, answer)
      if (answer instanceof ServiceError) throw answer
      if (operation === 'RegisterStreamConsumer') this.#rates.registered()
      if (operation === 'GetRecords' && this.#misread.falseEnd.size > 0 && this.#isMisread('falseEnd')) {
        return { ...answer, NextShardIterator: undefined, ChildShards: undefined }
      }
      if (operation === 'PutRecords') this.#noteRecords(streamOf(input), contents, answer)
      return operation === 'DescribeStreamSummary' ? this.#withRetention(answer) : answer
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error
      throw refusal(error)
    }
  }

  #noteRead(process: SimulatedProcess, input: ReadInput, answer: ReadAnswer | ServiceError): void {
    const { ShardIterator: iterator = '', ShardId } = input
    if (!(answer instanceof ServiceError)) {
      this.#noteAnswer(process, answer.Records ?? [])
      const shard = ShardId === undefined ? this.#rates.shardOf(iterator) : shardKeyOf(streamOf(input), ShardId)
      this.#rates.iterates(answer.NextShardIterator ?? answer.ShardIterator, shard)
    } else if (answer.type === 'ProvisionedThroughputExceededException' && ShardId === undefined) {
      this.#rates.throttled(process, iterator)
    }
  }

  #noteAnswer({ name }: SimulatedProcess, records: readonly { readonly Data: Uint8Array }[]): void {
    const bytes = records.reduce((sum, { Data }) => sum + Data.length + KEPT_BESIDE_BYTES, 0)
    this.#largest.set(name, Math.max(bytes, this.#largest.get(name) ?? 0))
  }

  #deregistered({ name }: SimulatedProcess): void {
    this.#options.report(new Violation('consumers stay registered', `${name} deregisters its consumer`))
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
    for (const [name, { stored }] of this.#options.notes) {
      for (const { id, hashRange, parents } of this.model.streamNamed(name).shards) {
        const parentIds = parents.map((parent) => parent.id)
        stored.addShard(id, hashRange, parentIds)
      }
    }
  }

  #noteRecords(stream: string, contents: readonly Content[], answer: object): void {
    const { stored, onStored } = this.#options.notes.get(stream)!
    const { distributesByKey: isByKey } = this.model.streamNamed(stream)
    const when = { arrivedMs: this.#options.time.nowMs, isByKey }
    const { Records: results } = answer as { Records: readonly Result[] }
    for (const [index, { ShardId, SequenceNumber }] of results.entries()) {
      if (ShardId === undefined || SequenceNumber === undefined) continue
      for (const each of stored.add(ShardId, SequenceNumber, contents[index]!, when)) onStored(each)
    }
  }
}

/** With the magic and the digest of an aggregate, and with what can't be one in between. */
function damagedAggregate(random: Random): Uint8Array {
  const inside = Buffer.alloc(integer(random, 20, 200), 0xff)
  return Buffer.concat([AGGREGATE_MAGIC, inside, createHash('md5').update(inside).digest()])
}

const DENIED = 'AccessDeniedException'
const TROUBLES = {
  denied: { type: DENIED, status: 400, message: 'Not authorized.' },
  throttled: { type: 'LimitExceededException', status: 400, message: 'Rate exceeded.' },
  failing: { type: 'InternalFailureException', status: 500, message: 'Internal service failure.' },
} as const

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
