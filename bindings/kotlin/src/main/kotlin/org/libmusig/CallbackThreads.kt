package org.libmusig

import com.sun.jna.Callback
import com.sun.jna.CallbackThreadInitializer
import com.sun.jna.Native
import com.sun.jna.Structure
import org.libmusig.ffi.uniffiCallbackInterfaceBroadcaster
import org.libmusig.ffi.uniffiCallbackInterfaceChainObserver
import org.libmusig.ffi.uniffiCallbackInterfaceLogSink
import org.libmusig.ffi.uniffiCallbackInterfacePsbtDevice
import org.libmusig.ffi.uniffiCallbackInterfaceSigner
import org.libmusig.ffi.uniffiRustFutureContinuationCallbackImpl

/*
 * Threads of the library's that call into the JVM. They do not keep it running: a program whose `main` threw ends.
 *
 * Those that call foreign objects live as long as their node and stay attached between two calls: otherwise JNA attaches and
 * detaches them each time, which costs three times the call itself, and fails where the object calls the node, whose
 * answer comes back on the same thread.
 */
internal object CallbackThreads {
    private val foreign = CallbackThreadInitializer(true, false, "libmusig-callback")
    private val results = CallbackThreadInitializer(true, true, "libmusig-result")

    init {
        listOf(
            uniffiCallbackInterfaceBroadcaster.vtable,
            uniffiCallbackInterfaceChainObserver.vtable,
            uniffiCallbackInterfaceLogSink.vtable,
            uniffiCallbackInterfacePsbtDevice.vtable,
            uniffiCallbackInterfaceSigner.vtable,
        ).flatMap(::callbacks).forEach { Native.setCallbackThreadInitializer(it, foreign) }
        Native.setCallbackThreadInitializer(uniffiRustFutureContinuationCallbackImpl, results)
    }

    private fun callbacks(table: Structure): List<Callback> =
        table.javaClass.fields.mapNotNull { field -> field.get(table) as? Callback }

    /** Before the first of them calls: nothing happens the second time. */
    fun prepare() {}
}
