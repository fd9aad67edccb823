import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { denial, leaseItem, ModelledDynamoDB, NAME } from './modelled-dynamodb.ts'

interface Statement {
  readonly Action: string | readonly string[]
  readonly Resource: string
}

const text = readFileSync(new URL('../../../docs/lease-table.md', import.meta.url), 'utf8')

/** What the policy on the page allows, as `ACTION on RESOURCE`, with the table's name as in the tests. */
const allowed = new Set(
  (JSON.parse(/```json\n(.*?)```/s.exec(text)![1]!) as { Statement: Statement[] }).Statement.flatMap(
    ({ Action, Resource }) => {
      const resource = Resource.slice(Resource.indexOf('/') + 1).replace('delays', NAME)
      return [Action].flat().map((action) => `${action} on ${resource}`)
    },
  ),
)

describe('the policy on the page about the table', () => {
  test('allows all that a worker does with a table that exists, and nothing that it does not do', async () => {
    const world = new ModelledDynamoDB()
    await world.load(NAME, 'leaseKey', [])
    const used = new Set<string>()
    const dynamodb = world.client(({ operation, table, input }, execute) => {
      const resource = input.IndexName === undefined ? table : `${table}/index/${String(input.IndexName)}`
      const call = `dynamodb:${operation} on ${resource}`
      if (!allowed.has(call)) throw denial(`dynamodb:${operation}`, resource)
      used.add(call)
      return execute()
    })
    const table = await world.opened({ dynamodb })
    world.put(NAME, leaseItem(0, { owner: 'ours' }))
    expect(await table.ownedKeys('ours')).toHaveLength(1)
    expect(await table.delete('lease', 'shardId-000000000000', [{ leaseOwner: { S: 'ours' } }])).toBe(true)
    expect([...used].toSorted()).toEqual([...allowed].filter((call) => call.startsWith('dynamodb:')).toSorted())
  })
})

test('the page names every attribute that the KCL was seen to write, and all of ours', async () => {
  const { attributeTypes } = JSON.parse(
    readFileSync(new URL('../test-vectors/kcl-lease-tables.json', import.meta.url), 'utf8'),
  ) as { attributeTypes: Record<string, Record<string, string>> }
  const sources = ['leases/lease.ts', 'leases/worker-entry.ts', 'leases/leader-lock.ts'].map((file) =>
    readFileSync(new URL(`../src/${file}`, import.meta.url), 'utf8'),
  )
  const ours = sources.flatMap((source) => [...source.matchAll(/'(shardwise\w+)'/g)].map(([, name]) => name!))
  expect(ours.length).toBeGreaterThan(4)
  for (const name of [...ours, ...Object.values(attributeTypes).flatMap((types) => Object.keys(types))]) {
    expect(text, name).toContain(`\`${name}\``)
  }
})
