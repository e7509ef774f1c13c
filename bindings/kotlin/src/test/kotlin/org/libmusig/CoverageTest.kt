package org.libmusig

import org.jacoco.core.analysis.Analyzer
import org.jacoco.core.analysis.CoverageBuilder
import org.jacoco.core.tools.ExecFileLoader
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Order
import org.junit.jupiter.api.Test
import java.io.ByteArrayInputStream
import java.io.File

/** After all others: which functions of the facade ran, as the JVM saw it. */
@Order(Int.MAX_VALUE)
class CoverageTest {
    /** Method names by class, of those of which something ran. */
    private fun covered(): Map<String, Set<String>> {
        val agent = Class.forName("org.jacoco.agent.rt.RT").getMethod("getAgent").invoke(null)
        val data = Class.forName("org.jacoco.agent.rt.IAgent")
            .getMethod("getExecutionData", Boolean::class.javaPrimitiveType).invoke(agent, false) as ByteArray
        val loader = ExecFileLoader().apply { load(ByteArrayInputStream(data)) }
        // Suspending functions are seen by the lambdas in them, `name$lambda$0`.
        val builder = CoverageBuilder()
        val classes = File(System.getProperty("musig.classes"), "org/libmusig/ffi")
        Analyzer(loader.executionDataStore, builder).analyzeAll(classes)
        return builder.classes.associate { type ->
            val methods = type.methods.filter { it.instructionCounter.coveredCount > 0 }
            type.name.substringAfterLast('/') to methods.map { it.name.substringBefore('-').substringBefore('$') }.toSet()
        }
    }

    /** What the library says that it offers: it has a checksum for each. */
    private fun facade(): List<String> =
        Class.forName("org.libmusig.ffi.IntegrityCheckingUniffiLib").declaredMethods
            .map { it.name }.filter { "_checksum_" in it }
            .map { it.substringAfter("_checksum_") }.sorted()

    private fun plain(name: String) = name.replace("_", "").lowercase()

    @Test
    fun `every function of the facade ran`() {
        val covered = covered()
        fun ran(type: String, method: String): Boolean {
            val (_, methods) = covered.entries.firstOrNull { plain(it.key) == plain(type) } ?: return false
            return methods.any { plain(it) == plain(method) }
        }
        val functions = facade()
        assertTrue(functions.size > 60, "found ${functions.size}")
        val table = functions.associateWith { function ->
            val (kind, rest) = function.split("_", limit = 2)
            if (kind == "func") {
                covered.filterKeys { it.endsWith("Kt") }.values.any { names -> names.any { plain(it) == plain(rest) } }
            } else {
                val (type, name) = rest.split("_", limit = 2)
                when (kind) {
                    "constructor" -> ran("$type\$Companion", name) || name == "new" && ran(type, "<init>")
                    // Kotlin's own class, or what calls an object in Kotlin.
                    else -> ran(type, name) || ran("uniffiCallbackInterface$type\$$name", "callback")
                }
            }
        }
        println("facade coverage")
        for ((function, ran) in table) println("  %-45s %s".format(function, if (ran) "covered" else "NOT COVERED"))
        println("facade coverage: ${table.count { it.value }} of ${table.size}")
        assertEquals(emptyList<String>(), table.filterValues { !it }.keys.toList())
    }
}
