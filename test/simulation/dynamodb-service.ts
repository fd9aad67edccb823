import type { DynamoDB } from '@shardwise/consumer'
import type { Random } from '@shardwise/core'
import { DynamoDBModel } from './dynamodb/model.ts'
import type { LeaseWrite } from './lease-witness.ts'
import type { Network } from './network.ts'
import type { SimulatedProcess } from './process.ts'
import { chance } from './randomness.ts'
import type { VirtualTime } from './virtual-time.ts'

export const TABLE = 'billing'

export interface DynamoDBServiceOptions {
  readonly time: VirtualTime
  readonly random: Random
  readonly network: Network
  readonly timeoutMs: number
  readonly readLagMs: () => number
  /** How probable each kind of refusal is now. */
  readonly errors: () => { readonly throttle: number; readonly internalError: number }
  readonly onWrite: (write: LeaseWrite) => void
}

interface Command {
  readonly input: object
  readonly constructor: { readonly name: string }
}

/** The model of DynamoDB behind the network. */
export class DynamoDBService {
  readonly model: DynamoDBModel
  readonly #options: DynamoDBServiceOptions

  constructor(options: DynamoDBServiceOptions) {
    const { time, random, readLagMs, onWrite } = options
    this.#options = options
    this.model = new DynamoDBModel({
      nowMs: () => time.nowMs,
      random,
      readLagMs,
      indexLagMs: readLagMs,
      createMs: 300,
      onWrite: ({ key, before, after, context }) =>
        onWrite({ key, before, after, writer: context as SimulatedProcess }),
    })
  }

  /** A client of this service in a process. */
  clientOf(process: SimulatedProcess): DynamoDB {
    const { network, timeoutMs } = this.#options
    const send = (command: Command, { abortSignal }: { abortSignal?: AbortSignal } = {}): Promise<object> => {
      const operation = command.constructor.name.replace(/Command$/, '')
      return network.call({
        process,
        service: 'dynamodb',
        timeoutMs,
        signal: abortSignal,
        execute: () => this.#execute(operation, command.input, process),
        describe: () => describe(operation, command.input),
      })
    }
    return { send } as unknown as DynamoDB
  }

  #execute(operation: string, input: object, process: SimulatedProcess): object {
    const { random, errors } = this.#options
    const { throttle, internalError } = errors()
    if (chance(random, throttle)) throw refused('ProvisionedThroughputExceededException', 400)
    const fails = chance(random, internalError)
    // An internal error says nothing about what was done.
    if (fails && chance(random, 0.5)) throw refused('InternalServerError', 500)
    const answer = this.model.execute(operation, input, process)
    if (fails) throw refused('InternalServerError', 500)
    return answer
  }
}

function refused(name: string, httpStatusCode: number): Error {
  return Object.assign(new Error(name), { name, $metadata: { httpStatusCode } })
}

function describe(operation: string, input: object): string {
  const { Key, ExpressionAttributeValues: values } = input as {
    Key?: { leaseKey?: { S?: string } }
    ExpressionAttributeValues?: Record<string, Record<string, unknown>>
  }
  const written = Object.values(values ?? {}).map((value) => String(Object.values(value)[0]))
  return [operation, ...(Key?.leaseKey?.S === undefined ? [] : [Key.leaseKey.S]), ...written].join(' ')
}
