import type { Random } from '@shardwise/core'
import { type KinesisModel, ServiceError, type SubscribeToShardEvent } from '@shardwise/local'
import type { CallRateWitness } from './call-rate-witness.ts'
import type { EventLink, LinkFate } from './event-link.ts'
import type { Fault } from './faults.ts'
import type { Network } from './network.ts'
import type { SimulatedProcess } from './process.ts'
import { chance } from './randomness.ts'
import { refusal } from './refusal.ts'
import { shardKeyOf } from './stored-stream.ts'
import { Violation } from './violation.ts'

type SubscriptionFault = Extract<Fault, { kind: 'subscription' }>

export interface FanOutServiceOptions {
  readonly model: KinesisModel
  readonly network: Network
  readonly random: Random
  /** How long a subscription lives. */
  readonly subscriptionMs: number
  /** Somebody is about to be told of the shards that there are now. */
  readonly onShardsTold: () => void
  /** So much comes to a process in one event. */
  readonly onEvent: (process: SimulatedProcess, records: SubscribeToShardEvent['Records']) => void
  readonly rates: CallRateWitness
  readonly report: (violation: Violation) => void
}

/** A call of SubscribeToShard on its way. */
export interface SubscribeCall {
  readonly process: SimulatedProcess
  readonly input: object
  /** What is late comes after so many times this. */
  readonly lateMs: number
  readonly signal: AbortSignal | undefined
}

/** What may become of subscriptions. */
export const SUBSCRIPTION_FATES = [
  'begun',
  'refused',
  'heldUp',
  'break',
  'stall',
  'end',
  'ended',
  'failed',
  'left',
] as const satisfies readonly (LinkFate | 'begun' | 'refused')[]

export type SubscriptionFate = (typeof SUBSCRIPTION_FATES)[number]

interface Opened {
  readonly shard: string
  readonly link: EventLink<EventStreamMember>
  readonly fail: (error: ServiceError) => void
}

/** As the SDK gives them to whoever iterates a subscription. */
interface EventStreamMember {
  readonly SubscribeToShardEvent: SubscribeToShardEvent
}

/** SubscribeToShard behind the network: streams of events, and what goes wrong with them. */
export class FanOutService {
  readonly #options: FanOutServiceOptions
  readonly #opened = new Set<Opened>()
  readonly #faults = new Set<SubscriptionFault>()
  /** Of each shard, where it stands among those that a fault strikes, from 0 to 1. */
  readonly #lots = new Map<string, number>()
  readonly #counts = new Map<SubscriptionFate, number>()

  constructor(options: FanOutServiceOptions) {
    this.#options = options
  }

  /** What has become of how many subscriptions. */
  get counts(): ReadonlyMap<SubscriptionFate, number> {
    return this.#counts
  }

  async subscribe({ process, input, lateMs, signal }: SubscribeCall): Promise<object> {
    const { network, rates, report } = this.#options
    const { ConsumerARN = '', ShardId = '', StartingPosition } = input as SubscribeInput
    const shard = shardKeyOf(streamOfConsumer(ConsumerARN), ShardId)
    const position = `${StartingPosition?.Type} ${StartingPosition?.SequenceNumber ?? ''}`.trim()
    const describe = (): string => `SubscribeToShard ${shard} ${position}`
    const mine = this.#openOf(process).filter((each) => each.shard === shard)
    if (mine.length > 0) {
      report(
        new Violation(
          'one subscription a shard',
          `${process.name} calls SubscribeToShard of ${shard} and has one open`,
        ),
      )
    }
    const consumed = `${shard} for ${ConsumerARN}`
    rates.subscribes(process, consumed)
    let opened: Opened | undefined
    let isGivenUp = false
    try {
      const answer = await network.call({
        process,
        service: 'kinesis',
        signal,
        // The library's own client waits for ever.
        timeoutMs: Number.POSITIVE_INFINITY,
        lateMs,
        execute: () => {
          opened = this.#open(process, input, shard, signal, describe)
          if (isGivenUp) opened.link.abandon()
          return { EventStream: { [Symbol.asyncIterator]: () => opened!.link.events() } }
        },
        describe,
      })
      rates.subscribed(process, consumed)
      this.#note('begun')
      return answer
    } catch (error) {
      isGivenUp = true
      opened?.link.abandon()
      if (!signal?.aborted) {
        rates.refused(process, consumed)
        this.#note('refused')
      }
      throw error
    }
  }

  /** What a fault does from now on, until the returned function is called. */
  disturb(fault: SubscriptionFault): () => void {
    this.#faults.add(fault)
    for (const opened of this.#opened) {
      if (this.#isStruck(opened.shard, fault)) this.#strike(opened, fault)
    }
    return () => this.#faults.delete(fault)
  }

  /** The ARN of a consumer that somebody registers by hand, unless it is there. */
  registered(stream: string): string {
    const { model } = this.#options
    const { arn, consumers } = model.streamNamed(stream)
    if (!consumers.has(BY_HAND)) {
      model.execute('RegisterStreamConsumer', { StreamARN: arn, ConsumerName: BY_HAND })
    }
    return consumers.get(BY_HAND)!.arn
  }

  /** Somebody deregisters all consumers of a stream. */
  deregisterAll(stream: string): void {
    const { model } = this.#options
    const { arn, consumers } = model.streamNamed(stream)
    for (const ConsumerName of [...consumers.keys()]) {
      try {
        model.execute('DeregisterStreamConsumer', { StreamARN: arn, ConsumerName })
      } catch (error) {
        if (!(error instanceof ServiceError)) throw error
      }
    }
  }

  /** The shards that a process has a subscription to, as far as it knows. */
  openShardsOf(process: SimulatedProcess): string[] {
    return this.#openOf(process).map(({ shard }) => shard)
  }

  #openOf(process: SimulatedProcess): Opened[] {
    for (const opened of this.#opened)
      if (!opened.link.isOpen || opened.link.process.isDead) this.#opened.delete(opened)
    return [...this.#opened].filter(({ link }) => link.process === process)
  }

  #open(
    process: SimulatedProcess,
    input: object,
    shard: string,
    signal: AbortSignal | undefined,
    describe: () => string,
  ): Opened {
    const { model, network, subscriptionMs, onShardsTold, onEvent } = this.#options
    try {
      const subscription = model.subscribe(input as Record<string, unknown>)
      const source = {
        get ended() {
          return subscription.ended
        },
        get error() {
          return subscription.error
        },
        get dueMs() {
          return subscription.dueMs
        },
        next: () => {
          const event = subscription.next()
          if (event === undefined) return undefined
          if (event.ChildShards !== undefined) onShardsTold()
          onEvent(process, event.Records)
          return { SubscribeToShardEvent: this.#troubled(opened, event) }
        },
        onDue: (listener: () => void) => subscription.onDue(listener),
        close: () => subscription.close(),
      }
      const link = network.open<EventStreamMember>({
        process,
        service: 'kinesis',
        source,
        bytesOf: ({ SubscribeToShardEvent: { Records } }) =>
          Records.reduce((sum, { Data }) => sum + Data.length, EVENT_BYTES),
        signal,
        lifetimeMs: subscriptionMs,
        describe,
        note: (fate) => this.#note(fate),
      })
      const opened: Opened = { shard, link, fail: (error) => subscription.fail(error) }
      this.#opened.add(opened)
      return opened
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error
      throw refusal(error)
    }
  }

  #note(fate: SubscriptionFate): void {
    this.#counts.set(fate, (this.#counts.get(fate) ?? 0) + 1)
  }

  /** Faults strike before the event is sent. */
  #troubled(opened: Opened, event: SubscribeToShardEvent): SubscribeToShardEvent {
    const struck = [...this.#faults].filter((fault) => this.#isStruck(opened.shard, fault))
    for (const fault of struck) this.#strike(opened, fault)
    return struck.some(({ act }) => act === 'falseEnd') ? withoutEnd(event) : event
  }

  #isStruck(shard: string, { share, probability }: SubscriptionFault): boolean {
    const { random } = this.#options
    let lot = this.#lots.get(shard)
    if (lot === undefined) {
      lot = random()
      this.#lots.set(shard, lot)
    }
    return lot < share && chance(random, probability)
  }

  #strike({ link, fail }: Opened, { act }: SubscriptionFault): void {
    // That is about an event, not about the subscription.
    if (act === 'falseEnd') return
    if (act === 'break' || act === 'stall' || act === 'end') link.strike(act)
    else fail(new ServiceError(act, 'The subscription ends.', act === 'InternalFailureException' ? 500 : 400))
  }
}

interface SubscribeInput {
  readonly ConsumerARN?: string
  readonly ShardId?: string
  readonly StartingPosition?: { readonly Type?: string; readonly SequenceNumber?: string }
}

const BY_HAND = 'by-hand'
/** What an event takes beside its records. */
const EVENT_BYTES = 300

/** It says neither where to go on nor what comes after the shard. */
function withoutEnd({ Records, MillisBehindLatest }: SubscribeToShardEvent): SubscribeToShardEvent {
  return { Records, MillisBehindLatest }
}

function streamOfConsumer(arn: string): string {
  return /:stream\/([^/]+)\/consumer\//.exec(arn)?.[1] ?? ''
}
