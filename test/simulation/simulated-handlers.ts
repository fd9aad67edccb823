import type { ConsumerRecord } from '@shardwise/consumer'
import { CodecError } from '@shardwise/core'
import type { Disturbances } from './disturbances.ts'
import type { HandlerTrouble } from './faults.ts'
import type { WorkerPlan } from './plan.ts'
import type { ProcessingPlan } from './plan-processing.ts'
import type { SimulatedProcess } from './process.ts'
import type { DeadLetter, ProcessingWitness } from './processing-witness.ts'
import { between, chance, isAmong } from './randomness.ts'
import type { Hook } from './shard-life.ts'
import { textOf } from './stored-stream.ts'
import type { Trace } from './trace.ts'

const SLOW_MS = 2_000
const HANG_MS = 20_000
const REJECT_MS = 200
/** So many handlers announce a checkpoint, which takes writes to the table. */
const PREPARED_SHARE = 0.003
const NEVER = new AbortController().signal
/** In failover times. */
const BLOCK = [0.05, 2.2] as const

/** What handlers, and other callbacks, throw here. */
export class HandlerFailure extends Error {
  override readonly name = 'HandlerFailure'
}

/** What a handler is told besides its records, as far as the programs here look at it. */
interface Context {
  readonly signal: AbortSignal
  readonly attempt: number
  readonly checkpoint?: ((record?: never) => void) | undefined
  readonly prepareCheckpoint?: ((record?: never, state?: Uint8Array) => Promise<{ commit(): void }>) | undefined
}

export interface HandlerSurroundings {
  readonly process: SimulatedProcess
  readonly plan: WorkerPlan
  readonly processing: ProcessingPlan | undefined
  readonly failoverTime: number
  readonly disturbances: Disturbances
  readonly witness: ProcessingWitness
  readonly trace: Trace
  readonly nowMs: () => number
}

/** What one program does with records, dead letters, and the turns in the life of a shard. */
export class SimulatedHandlers {
  readonly #surroundings: HandlerSurroundings
  #inNext: (() => void) | undefined

  constructor(surroundings: HandlerSurroundings) {
    this.#surroundings = surroundings
  }

  /** Something that happens in the next handler that is called. */
  inNext(act: () => void): void {
    this.#inNext = act
  }

  /** Some records take no time, some a while; some are disturbed. */
  handle(records: readonly ConsumerRecord<unknown>[], context: Context): Promise<void> | undefined {
    const { process, trace, witness, plan, processing, disturbances } = this.#surroundings
    const { random } = process
    trace.add(process.name, `handles ${records.map(placeOf).join(', ')}`)
    const call = witness.called(records, context)
    if (call === undefined) return undefined
    this.#inNext?.()
    this.#inNext = undefined
    const trouble =
      disturbances.trouble('handlers', random) ?? (records.some(({ data }) => this.#fails(data)) ? 'throw' : undefined)
    const waitMs = random() * 2 * plan.handlerMs
    // A loop is told of no signal.
    const signal = processing?.shape === 'records' ? NEVER : context.signal
    const act = (): Promise<void> | undefined =>
      this.#act(trouble, waitMs, signal, (succeeded) => (succeeded ? call.succeeded() : call.failed()))
    const prepared = this.#name(records, context)
    if (prepared === undefined) return act()
    return prepared.then(act, (error: unknown) => {
      call.failed()
      throw error
    })
  }

  hook(
    hook: Hook,
    shard: { readonly stream: string; readonly shardId: string },
    signal: AbortSignal,
  ): Promise<void> | undefined {
    const { process, trace, witness, disturbances } = this.#surroundings
    trace.add(process.name, `${hook} of ${shard.shardId}`)
    const done = witness.hook(hook, shard, signal)
    return this.#act(disturbances.trouble('hooks', process.random), 0, signal, done)
  }

  deadLetter(letter: DeadLetter, signal: AbortSignal): Promise<void> | undefined {
    const { process, trace, witness, disturbances } = this.#surroundings
    const { shardId, sequenceNumber, subSequenceNumber } = letter.origin
    trace.add(process.name, `dead letter (${letter.kind}) of ${shardId} ${sequenceNumber}:${subSequenceNumber}`)
    const keep = witness.letter(letter)
    return this.#act(disturbances.trouble('letters', process.random), 0, signal, (succeeded) => {
      if (succeeded) keep()
    })
  }

  /** The name of what was put: what is decoded of a record here. */
  decode(data: Uint8Array): string | Promise<string> {
    const { process, processing, witness } = this.#surroundings
    const text = textOf(data)
    const { decodingMs = 0, misfitShare = 0 } = processing ?? {}
    const isMisfit = !this.#isMended && isAmong(text, 'misfit', misfitShare)
    const decoded = (): string => {
      if (!isMisfit) return text
      witness.misfit(text)
      throw new CodecError(`${text} doesn't fit`)
    }
    return decodingMs === 0 ? decoded() : process.sleep(process.random() * decodingMs).then(decoded)
  }

  get #isMended(): boolean {
    const { processing, nowMs } = this.#surroundings
    return processing === undefined || nowMs() >= processing.mendedAtMs
  }

  #fails(data: Uint8Array): boolean {
    const { failingShare = 0 } = this.#surroundings.processing ?? {}
    return failingShare > 0 && !this.#isMended && isAmong(textOf(data), 'failing', failingShare)
  }

  /** Before the record is handled, which says nothing of whether it will be: at once, or in two phases. */
  #name(
    records: readonly ConsumerRecord<unknown>[],
    { checkpoint, prepareCheckpoint }: Context,
  ): Promise<void> | undefined {
    const { process, processing, witness } = this.#surroundings
    const { random } = process
    const last = records.at(-1)
    const { manualShare = 0 } = processing ?? {}
    if (last === undefined || !chance(random, manualShare)) return undefined
    if (chance(random, PREPARED_SHARE / manualShare)) {
      return prepareCheckpoint?.(undefined, Uint8Array.of(records.length)).then((prepared) => {
        witness.named(last)
        prepared.commit()
      })
    }
    witness.named(last)
    checkpoint?.()
    return undefined
  }

  #act(
    trouble: HandlerTrouble | undefined,
    waitMs: number,
    signal: AbortSignal,
    done: (succeeded: boolean) => void,
  ): Promise<void> | undefined {
    const { process, failoverTime } = this.#surroundings
    const { random } = process
    if (trouble === 'block') process.block(between(random, ...BLOCK) * failoverTime)
    if (trouble === 'throw') {
      done(false)
      throw new HandlerFailure('it throws')
    }
    if (trouble === 'block' || (trouble === undefined && waitMs === 0)) {
      done(true)
      return undefined
    }
    return this.#wait(trouble, waitMs, signal).then(
      () => done(true),
      (error: unknown) => {
        done(false)
        throw error
      },
    )
  }

  async #wait(trouble: HandlerTrouble | undefined, waitMs: number, signal: AbortSignal): Promise<void> {
    const { process } = this.#surroundings
    switch (trouble) {
      case 'slow':
        return await process.sleep(SLOW_MS, signal)
      case 'hang':
        return await process.sleep(HANG_MS, signal)
      case 'deaf':
        return await process.sleep(HANG_MS)
      case 'swallow':
        return await process.sleep(HANG_MS, signal).catch(() => undefined)
      case 'reject':
        await process.sleep(process.random() * REJECT_MS, signal)
        throw new HandlerFailure('it rejects')
      default:
        return await process.sleep(waitMs, signal)
    }
  }
}

function placeOf({ data, shardId, sequenceNumber, subSequenceNumber }: ConsumerRecord<unknown>): string {
  return `${textOf(data)} at ${shardId} ${sequenceNumber}:${subSequenceNumber}`
}
