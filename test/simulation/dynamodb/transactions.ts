import type { TransactWriteItem, TransactWriteItemsInput } from '@aws-sdk/client-dynamodb'
import { DynamoDBModelError, invalid } from './errors.ts'
import type { StoredTable } from './stored-table.ts'
import type { World } from './world.ts'
import {
  commit,
  type DecidedWrite,
  decide,
  type PlannedWrite,
  planCheck,
  planDelete,
  planPut,
  planUpdate,
} from './writes.ts'

const MAX_WRITES = 100
const TOKEN_LIFE_MS = 10 * 60_000

/** Writes of several items that happen all or not at all; the same token does nothing a second time. */
export class Transactions {
  readonly #world: World
  readonly #findTable: (name: string | undefined) => StoredTable
  /** Oldest first. */
  readonly #done = new Map<string, { readonly content: string; readonly atMs: number }>()

  constructor(world: World, findTable: (name: string | undefined) => StoredTable) {
    this.#world = world
    this.#findTable = findTable
  }

  write({ TransactItems: items = [], ClientRequestToken: token }: TransactWriteItemsInput, context: unknown): object {
    if (items.length === 0 || items.length > MAX_WRITES) {
      throw invalid(`Expected 1 to ${MAX_WRITES} TransactItems, got ${items.length}`)
    }
    const content = token === undefined ? '' : JSON.stringify(items)
    if (token !== undefined && this.#isDone(token, content)) return {}
    const plans = items.map((item) => this.#plan(item))
    if (new Set(plans.map(({ table, keyText }) => JSON.stringify([table.name, keyText]))).size < plans.length) {
      throw invalid('Transaction request cannot include multiple operations on one item')
    }
    commit(decideAll(plans), this.#world, context)
    if (token !== undefined) this.#done.set(token, { content, atMs: this.#world.nowMs() })
    return {}
  }

  #plan(item: TransactWriteItem): PlannedWrite {
    const { ConditionCheck, Put, Update, Delete } = item
    if ([ConditionCheck, Put, Update, Delete].filter((one) => one !== undefined).length === 1) {
      if (ConditionCheck) return planCheck(ConditionCheck, this.#findTable)
      if (Put) return planPut(Put, this.#findTable)
      if (Update) return planUpdate(Update, this.#findTable)
      if (Delete) return planDelete(Delete, this.#findTable)
    }
    throw invalid('TransactItems can only contain one of Check, Put, Update or Delete')
  }

  #isDone(token: string, content: string): boolean {
    const nowMs = this.#world.nowMs()
    for (const [old, { atMs }] of this.#done) {
      if (atMs > nowMs - TOKEN_LIFE_MS) break
      this.#done.delete(old)
    }
    const done = this.#done.get(token)
    if (done === undefined || done.content === content) return done !== undefined
    throw new DynamoDBModelError(
      'IdempotentParameterMismatchException',
      'Request rejected because it was retried with different parameters within the idempotency window',
    )
  }
}

function decideAll(plans: readonly PlannedWrite[]): DecidedWrite[] {
  const decided: DecidedWrite[] = []
  const reasons = plans.map((plan) => {
    try {
      decided.push(decide(plan))
      return { Code: 'None' }
    } catch (error) {
      return reasonFor(error)
    }
  })
  if (decided.length === plans.length) return decided
  throw new DynamoDBModelError(
    'TransactionCanceledException',
    'Transaction cancelled, please refer cancellation reasons for specific reasons ' +
      `[${reasons.map(({ Code }) => Code).join(', ')}]`,
    { CancellationReasons: reasons },
  )
}

function reasonFor(error: unknown): { readonly Code: string; readonly Message?: string; readonly Item?: unknown } {
  if (!(error instanceof DynamoDBModelError)) throw error
  if (error.name === 'ValidationException') return { Code: 'ValidationError', Message: error.message }
  return { Code: 'ConditionalCheckFailed', Message: error.message, ...('Item' in error && { Item: error.Item }) }
}
